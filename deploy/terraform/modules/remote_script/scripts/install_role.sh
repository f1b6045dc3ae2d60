# Installs a role from the bootstrap folder; comes after folder.sh. ROLE_SCRIPT is its script, below the export. With
# BOOTSTRAP_SHA256 the folder must be the one that Terraform knows: a copy of it is looked at and run, since others may write
# to the share.
BOOTSTRAP_PATH=$root
export BOOTSTRAP_PATH
script=$root$ROLE_SCRIPT
[ -f "$script" ] ||
  fail "${BOOTSTRAP_MOUNT_ADDRESS:+$BOOTSTRAP_MOUNT_ADDRESS:}$BOOTSTRAP_EXPORT_PATH has no $ROLE_SCRIPT: prepare the bootstrap folder first (cachewarmer_prepare_bootstrapdir)"
if [ -n "${BOOTSTRAP_SHA256-}" ]; then
  from=$(dirname "$script")
  scratch=$(mktemp -d)
  cp -- "$from/SHA256SUMS" "$scratch/SHA256SUMS"
  [ "$(sha256sum "$scratch/SHA256SUMS" | cut -d ' ' -f 1)" = "$BOOTSTRAP_SHA256" ] ||
    fail "$from is not the bootstrap folder that was prepared: its SHA256SUMS has another sum than bootstrap_sha256"
  sed 's/^[0-9a-f]* [ *]//' "$scratch/SHA256SUMS" | while IFS= read -r file; do
    mkdir -p -- "$(dirname -- "$scratch/$file")"
    cp -- "$from/$file" "$scratch/$file"
  done
  script=$scratch/$(basename "$script")
fi
sh "$script"
