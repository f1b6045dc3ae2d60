# Runs $directory/script as root, through sudo where need be, and takes the directory away. The password for sudo comes from a
# file, since everyone can see a command line.
set -eu
trap 'rm -rf -- "$directory" "$directory.sh"' EXIT
# shellcheck disable=SC2024  # the user's own file, which the user may read
if [ "$(id -u)" -eq 0 ]; then
  sh "$directory/script" "$directory"
elif sudo -n true 2>/dev/null; then
  sudo -n sh "$directory/script" "$directory"
elif sudo -S -p '' true <"$directory/password" 2>/dev/null; then
  sudo -S -p '' sh "$directory/script" "$directory" <"$directory/password"
else
  echo "cachewarmer: $(id -un) can't become root on $(hostname) with sudo: give a user who may, with the password that sudo asks for" >&2
  exit 1
fi
