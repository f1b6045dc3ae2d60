# Fills the bootstrap folder; comes after folder.sh. unpack() puts the folder's sources into the directory it is given; an
# uploaded program is $1/upload.
umask 022
folder=$root$BOOTSTRAP_SUBDIR

# Which directories are made here, the innermost first, so that those and no others can be taken away again.
missing=$folder
made=
while [ ! -d "$missing" ]; do
  made="$made${missing#"$mounted"}
"
  missing=$(dirname "$missing")
done
mkdir -p "$folder"
if [ -n "$made" ] && [ ! -e "$folder/.made" ]; then printf '%s' "$made" >"$folder/.made"; fi

if [ -n "${CACHEWARMER_URL-}" ]; then
  set -- --download "$CACHEWARMER_URL"
else
  set -- --executable "${CACHEWARMER_NODE_PATH:-$1/upload}"
fi
if [ -n "${CACHEWARMER_SHA256-}" ]; then set -- "$@" --sha256 "$CACHEWARMER_SHA256"; fi
scratch=$(mktemp -d)
unpack "$scratch"
sh "$scratch/bootstrap/prepare.sh" --to "$folder" "$@"
