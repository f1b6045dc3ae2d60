# Posts one job, and with BLOCK_UNTIL_WARM waits for it and says what was warmed, or what was not and why.
submitter=/usr/local/bin/cachewarmer-jobsubmitter
if [ ! -x "$submitter" ]; then
  echo "cachewarmer: $(hostname) has no $submitter: install the manager or a worker on this node first, or submit from one that has it" >&2
  exit 1
fi
# Terraform gives it a terminal, on which it would draw its progress every second; into a pipe it writes a line every ten.
{
  code=0
  "$submitter" \
    "-storageAccountName=$STORAGE_ACCOUNT" \
    "-storageAccountResourceGroup=${STORAGE_ACCOUNT_RESOURCE_GROUP-}" \
    "-queueNamePrefix=$QUEUE_PREFIX" \
    "-warmTargetMountAddresses=$WARM_MOUNT_ADDRESSES" \
    "-warmTargetExportPath=$WARM_EXPORT_PATH" \
    "-warmTargetPath=$WARM_PATH" \
    "-inclusionCsv=${INCLUSION_CSV-}" \
    "-exclusionCsv=${EXCLUSION_CSV-}" \
    "-maxFileSizeBytes=$MAX_FILE_SIZE_BYTES" \
    "-blockUntilWarm=$BLOCK_UNTIL_WARM" || code=$?
  echo "$code" >"$1/code"
} 2>&1 | cat
exit "$(cat "$1/code")"
