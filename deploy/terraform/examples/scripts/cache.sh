#!/bin/sh
# Makes this machine a read-through cache of an NFS export: the export is mounted with FS-Cache, which keeps what was read on
# the local disks. Runs at every boot: local NVMe is empty after the VM was deallocated. serve.sh exports the mount again.
#   ORIGIN            the far export, ADDRESS:/PATH
#   CACHE_DIRECTORY   where it is mounted, and what is exported again
#   CACHE_DISKS       block devices, separated by spaces; "auto": every local NVMe disk; "none": memory alone
#   MOUNT_OPTIONS     for the mount of the origin, beside "fsc"
#   READ_AHEAD_KB     how far ahead the cache reads of the origin; its own default of 128 leaves a far link idle
set -eu

: "${ORIGIN:?}" "${CACHE_DIRECTORY:?}" "${CACHE_DISKS:=auto}" "${READ_AHEAD_KB:=4096}"
: "${MOUNT_OPTIONS:=ro,vers=3,proto=tcp,hard,nolock,nocto,actimeo=600,nconnect=8,rsize=1048576}"
store=/var/cache/fscache

fail() {
  echo "cache: $*" >&2
  exit 1
}

# Remote disks may be NVMe too; the local ones are told by their model.
local_disks() {
  for model in /sys/class/block/nvme*n1/device/model; do
    [ -r "$model" ] || continue
    case $(cat "$model") in
    "Microsoft NVMe Direct Disk"*)
      path=${model%/device/model}
      echo "/dev/${path##*/}"
      ;;
    esac
  done
}

mount_store() {
  mountpoint -q "$store" && return
  case $CACHE_DISKS in
  auto) disks=$(local_disks) ;;
  *) disks=$CACHE_DISKS ;;
  esac
  # shellcheck disable=SC2086 # words are meant
  set -- $disks
  [ $# -gt 0 ] || fail "no local NVMe disk here; take a VM size that has some, or set CACHE_DISKS"
  for disk in "$@"; do
    [ -b "$disk" ] || fail "$disk is no block device"
  done
  if [ $# -eq 1 ]; then
    device=$1
  else
    device=/dev/md/fscache
    if ! [ -b "$device" ]; then
      mdadm --assemble "$device" "$@" 2>/dev/null ||
        mdadm --create "$device" --run --homehost=any --level=0 --raid-devices=$# "$@"
    fi
  fi
  # Nothing on it is worth a journal: what is lost is read again.
  blkid -t LABEL=fscache "$device" >/dev/null || mkfs.ext4 -q -F -L fscache -O ^has_journal -m 0 "$device"
  mkdir -p "$store"
  mount -o noatime,nodiratime "$device" "$store"
}

start_store() {
  cat >/etc/cachefilesd.conf <<END
dir $store
tag cachewarmer
brun 15%
bcull 10%
bstop 5%
frun 15%
fcull 10%
fstop 5%
END
  modprobe cachefiles
  if [ -d /run/systemd/system ]; then
    echo 'RUN=yes' >/etc/default/cachefilesd
    systemctl restart cachefilesd.service
  elif ! pidof cachefilesd >/dev/null; then
    cachefilesd
  fi
}

options=$MOUNT_OPTIONS
if [ "$CACHE_DISKS" != none ]; then
  mount_store
  start_store
  options=$options,fsc
fi
mkdir -p "$CACHE_DIRECTORY"
mountpoint -q "$CACHE_DIRECTORY" || mount -t nfs -o "$options" "$ORIGIN" "$CACHE_DIRECTORY"
echo "$READ_AHEAD_KB" >"/sys/class/bdi/$(mountpoint -d "$CACHE_DIRECTORY")/read_ahead_kb"
