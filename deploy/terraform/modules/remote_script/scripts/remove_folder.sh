# Takes away what is in the folder's list of checksums, and the directories that were made for it; comes after folder.sh.
# Others may write to the share, and this runs as root: only files that prepare.sh could have put there go, by names
# that lead nowhere else. Each directory is entered before anything in it goes: whatever becomes a link meanwhile, a name
# without a slash is in the directory that was entered.
folder=$root$BOOTSTRAP_SUBDIR
[ -d "$folder" ] || exit 0
place=$(cd -P -- "$root" && pwd -P) || exit 0
place=${place%/}
MOST_LIST_BYTES=1048576
refuse() { echo "cachewarmer: $folder: left alone, since no part of it is ours: $1" >&2; }

# Enters $1 below the place that was mounted, or the directory that stands for it; fails where a link leads elsewhere.
enter() {
  cd -P -- "$place$1" 2>/dev/null && [ "$(pwd -P)" = "$place${1%/}" ]
}

# $1, below the folder, if it is a plain name there or in one of our two directories.
is_ours() {
  case $1 in
  systemd/*/* | logging/*/* | */. | */.. | */ | '' | . | ..) return 1 ;;
  systemd/* | logging/*) ;;
  */*) return 1 ;;
  esac
}

subdir=$(printf '%s' "$BOOTSTRAP_SUBDIR" | tr -s /)
subdir=${subdir%/}
# What is entered is not left to the end: a share is not unmounted while a process is in it.
leave() {
  cd /
  exit 0
}
enter "$subdir" || {
  refuse "a link leads elsewhere"
  leave
}
if [ -f SHA256SUMS ] && [ ! -L SHA256SUMS ]; then
  head -c "$MOST_LIST_BYTES" SHA256SUMS | sed 's/^[0-9a-f]* [ *]//' | while IFS= read -r file; do
    name=${file#./}
    if ! is_ours "$name"; then
      refuse "$file"
    elif [ "${name%/*}" = "$name" ]; then
      rm -f -- "$name"
    elif ! (enter "$subdir/${name%/*}" && rm -f -- "${name##*/}"); then
      [ ! -L "${name%/*}" ] || refuse "$file"
    fi
  done
  rm -f -- SHA256SUMS
fi
for directory in systemd logging; do
  [ ! -d "$directory" ] || [ -L "$directory" ] || rmdir --ignore-fail-on-non-empty -- "$directory"
done
if [ ! -f .made ] || [ -L .made ]; then leave; fi
made=$(head -c "$MOST_LIST_BYTES" .made)
rm -f -- .made
# One that somebody else put something into stays, and so do those above it. None but the folder and what leads to it.
printf '%s\n' "$made" | while IFS= read -r directory; do
  case $directory in
  *..* | '') break ;;
  esac
  case $folder/ in
  "$mounted$directory"/*) ;;
  *)
    refuse "$directory"
    continue
    ;;
  esac
  # Below a mount others may have put a link in its way; a directory of this machine is where its administrator has it.
  if [ -n "$mounted" ]; then
    enter "${directory%/*}" || break
    rmdir -- "${directory##*/}" 2>/dev/null || break
  else
    cd /
    rmdir -- "$directory" 2>/dev/null || break
  fi
done
cd /
