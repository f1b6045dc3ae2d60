# Fills the bootstrap folder; comes after folder.sh. The sources of the folder are in $1/deploy, an uploaded program is $1/upload.
umask 022
open_folder
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
  set -- "$1" --download "$CACHEWARMER_URL"
else
  set -- "$1" --executable "${CACHEWARMER_NODE_PATH:-$1/upload}"
fi
if [ -n "${CACHEWARMER_SHA256-}" ]; then set -- "$@" --sha256 "$CACHEWARMER_SHA256"; fi
sources=$1
shift
sh "$sources/deploy/bootstrap/prepare.sh" --to "$folder" "$@"
