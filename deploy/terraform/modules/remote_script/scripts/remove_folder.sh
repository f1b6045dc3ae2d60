# Takes away what is in the folder's list of checksums, and the directories that were made for it; comes after folder.sh.
folder=$root$BOOTSTRAP_SUBDIR
[ -d "$folder" ] || exit 0
if [ -f "$folder/SHA256SUMS" ]; then
  (cd "$folder" && sed 's/^[0-9a-f]* [ *]//' SHA256SUMS | while IFS= read -r file; do rm -f -- "$file"; done)
  rm -f -- "$folder/SHA256SUMS"
fi
for directory in systemd logging; do
  [ ! -d "$folder/$directory" ] || rmdir --ignore-fail-on-non-empty "$folder/$directory"
done
[ -f "$folder/.made" ] || exit 0
made=$(cat "$folder/.made")
rm -f -- "$folder/.made"
# One that somebody else put something into stays, and so do those above it.
printf '%s\n' "$made" | while IFS= read -r directory; do
  rmdir "$mounted$directory" 2>/dev/null || break
done
