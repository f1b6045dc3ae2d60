# Posts jobs, and with BLOCK_UNTIL_WARM waits for them and says what was warmed, or what was not and why. What comes after calls
# submit for each job, and then finish.
submitter=/usr/local/bin/cachewarmer-jobsubmitter
if [ ! -x "$submitter" ]; then
  echo "cachewarmer: $(hostname) has no $submitter: install the manager or a worker on this node first, or submit from one that has it" >&2
  exit 1
fi
place=$1
number=0
: >"$place/codes"

# submit EXPORT PATH NAME: all at the same time. Terraform gives a terminal, on which each would draw its progress every second;
# into a pipe it writes a line every ten.
submit() {
  number=$((number + 1))
  {
    code=0
    "$submitter" \
      "-storageAccountName=$STORAGE_ACCOUNT" \
      "-storageAccountResourceGroup=${STORAGE_ACCOUNT_RESOURCE_GROUP-}" \
      "-queueNamePrefix=$QUEUE_PREFIX" \
      "-warmTargetMountAddresses=$WARM_MOUNT_ADDRESSES" \
      "-warmTargetExportPath=$1" \
      "-warmTargetPath=$2" \
      "-jobName=$3" \
      "-inclusionCsv=${INCLUSION_CSV-}" \
      "-exclusionCsv=${EXCLUSION_CSV-}" \
      "-maxFileSizeBytes=$MAX_FILE_SIZE_BYTES" \
      "-uid=${WARM_UID-}" \
      "-gid=${WARM_GID-}" \
      "-blockUntilWarm=$BLOCK_UNTIL_WARM" || code=$?
    echo "$code" >>"$place/codes"
  } 2>&1 | cat &
}

# Ends as the worst of them did.
finish() {
  wait
  [ "$(wc -l <"$place/codes")" -eq "$number" ] || exit 1
  exit "$(sort -n "$place/codes" | tail -n 1)"
}
