# Takes away what is in the folder's list of checksums, and the directories that were made for it; comes after folder.sh.
# Others may write to the share, and this runs as root: only files that prepare.sh could have put there go, by names
# that lead nowhere else.
folder=$root$BOOTSTRAP_SUBDIR
[ -d "$folder" ] || exit 0
refuse() { echo "cachewarmer: $folder: left alone, since no part of it is ours: $1" >&2; }

# $1, below the folder, if it is a plain name there or in one of our two directories, which must be directories themselves.
is_ours() {
  case $1 in
  */* | '' | . | ..)
    case $1 in
    systemd/*/* | logging/*/* | */. | */.. | */) return 1 ;;
    systemd/* | logging/*) [ ! -L "$folder/${1%%/*}" ] ;;
    *) return 1 ;;
    esac
    ;;
  esac
}

if [ -f "$folder/SHA256SUMS" ]; then
  sed 's/^[0-9a-f]* [ *]//' "$folder/SHA256SUMS" | while IFS= read -r file; do
    name=${file#./}
    if is_ours "$name"; then rm -f -- "$folder/$name"; else refuse "$file"; fi
  done
  rm -f -- "$folder/SHA256SUMS"
fi
for directory in systemd logging; do
  [ ! -d "$folder/$directory" ] || [ -L "$folder/$directory" ] || rmdir --ignore-fail-on-non-empty "$folder/$directory"
done
[ -f "$folder/.made" ] || exit 0
made=$(cat "$folder/.made")
rm -f -- "$folder/.made"
# One that somebody else put something into stays, and so do those above it. None but the folder and what leads to it.
printf '%s\n' "$made" | while IFS= read -r directory; do
  case $directory in
  *..* | '') break ;;
  esac
  case $folder/ in
  "$mounted$directory"/*) rmdir "$mounted$directory" 2>/dev/null || break ;;
  *) refuse "$directory" ;;
  esac
done
