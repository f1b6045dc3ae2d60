# Runs $directory/script as the user who signed in, and takes the directory away.
set -eu
trap 'rm -rf -- "$directory" "$directory.sh"' EXIT
sh "$directory/script" "$directory"
