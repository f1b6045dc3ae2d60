#!/bin/bash
# Fills a bootstrap folder on an NFS export, as the first CacheWarmer's script of this name did: bootstrap/prepare.sh with the
# export mounted. Run it or source it, as a user who may use sudo, with these variables:
#   LOCAL_MOUNT_DIR            where to mount the export meanwhile, such as /b
#   BOOTSTRAP_MOUNT_ADDRESS, BOOTSTRAP_MOUNT_EXPORT, BOOTSTRAP_SUBDIR    the NFS server, its export, the folder below that
#   CACHEWARMER_MANAGER_PATH (or _WORKER_PATH, _JOBSUBMITTER_PATH)       the program; default: dist/cachewarmer of this checkout
#   BOOTSTRAP_MOUNT_OPTIONS    for mount(8), if others are needed
# Nothing is downloaded: there are no releases to download from. cachewarmer_build.sh builds the program.
(
  set -eu
  here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
  for name in LOCAL_MOUNT_DIR BOOTSTRAP_MOUNT_ADDRESS BOOTSTRAP_MOUNT_EXPORT BOOTSTRAP_SUBDIR; do
    if [ -z "${!name-}" ]; then
      echo "cachewarmer_prepare_bootstrap.sh: $name is not set" >&2
      exit 1
    fi
  done
  program=${CACHEWARMER_MANAGER_PATH:-${CACHEWARMER_WORKER_PATH:-${CACHEWARMER_JOBSUBMITTER_PATH:-$(dirname -- "$here")/dist/cachewarmer}}}
  if [ ! -f "$program" ]; then
    echo "cachewarmer_prepare_bootstrap.sh: there is no program at $program: source cachewarmer_build.sh first, or set CACHEWARMER_MANAGER_PATH" >&2
    exit 1
  fi
  root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
  options=${BOOTSTRAP_MOUNT_OPTIONS:-hard,proto=tcp,mountproto=tcp,retry=30}
  root mkdir -p -- "$LOCAL_MOUNT_DIR"
  root mount -t nfs -o "$options" "$BOOTSTRAP_MOUNT_ADDRESS:$BOOTSTRAP_MOUNT_EXPORT" "$LOCAL_MOUNT_DIR"
  trap 'root umount "$LOCAL_MOUNT_DIR" && root rmdir "$LOCAL_MOUNT_DIR"' EXIT
  root sh "$here/bootstrap/prepare.sh" --to "$LOCAL_MOUNT_DIR/${BOOTSTRAP_SUBDIR#/}" --executable "$program"
)
