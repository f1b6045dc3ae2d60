#!/bin/sh
# Puts a file system on the filer's data disk and mounts it; runs at every boot.
#   FILER_DIRECTORY  where the data is, and what is exported
#   FILER_DISK       block device; "auto": the managed disk at LUN 0
#   SAMPLE_FILES     files to put there when it is empty, so that there is something to warm; 0: none
set -eu

: "${FILER_DIRECTORY:?}" "${FILER_DISK:=auto}" "${SAMPLE_FILES:=0}"

disk=$FILER_DISK
if [ "$disk" = auto ]; then
  # SCSI controllers first, NVMe ones second: azure-vm-utils and the VM agent name them so.
  for disk in /dev/disk/azure/scsi1/lun0 /dev/disk/azure/data/by-lun/0; do
    [ -b "$disk" ] && break
  done
fi
if ! [ -b "$disk" ]; then
  echo "filer: $disk is not there (yet)" >&2
  exit 1
fi

blkid "$disk" >/dev/null || mkfs.ext4 -q -L filer "$disk"
mkdir -p "$FILER_DIRECTORY"
mountpoint -q "$FILER_DIRECTORY" || mount -o noatime "$disk" "$FILER_DIRECTORY"

# Written under another name first: an interrupted boot does not leave half of it.
if [ "$SAMPLE_FILES" -gt 0 ] && ! [ -e "$FILER_DIRECTORY/sample" ]; then
  rm -rf "$FILER_DIRECTORY/.sample"
  number=0
  while [ "$number" -lt "$SAMPLE_FILES" ]; do
    directory=$FILER_DIRECTORY/.sample/$((number / 100))
    mkdir -p "$directory"
    head -c 100000 /dev/urandom >"$directory/$number"
    number=$((number + 1))
  done
  mv "$FILER_DIRECTORY/.sample" "$FILER_DIRECTORY/sample"
fi
