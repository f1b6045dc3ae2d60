# Installs a role from the bootstrap folder; comes after folder.sh. ROLE_SCRIPT is its script, below the export.
BOOTSTRAP_PATH=$root
export BOOTSTRAP_PATH
[ -f "$root$ROLE_SCRIPT" ] ||
  fail "${BOOTSTRAP_MOUNT_ADDRESS:+$BOOTSTRAP_MOUNT_ADDRESS:}$BOOTSTRAP_EXPORT_PATH has no $ROLE_SCRIPT: prepare the bootstrap folder first (cachewarmer_prepare_bootstrapdir)"
sh "$root$ROLE_SCRIPT"
