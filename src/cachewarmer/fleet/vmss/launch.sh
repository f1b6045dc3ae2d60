#!/bin/sh
# Makes this machine a worker: mounts the bootstrap export, waits for the bootstrap script, runs it, unmounts.
# Settings are in launch.env beside this file, where only root may read them; it is removed when the worker is installed.
# All it says is in /var/log/cachewarmer-bootstrap.log. Fetches nothing unless CACHEWARMER_ALLOW_INTERNET is set.
set -u
umask 077
here=$(dirname -- "$0")
log=/var/log/cachewarmer-bootstrap.log
BOOTSTRAP_PATH=/mnt/cachewarmer-bootstrap
copy=$here/folder # only root may write beside this file
wait_seconds=${CACHEWARMER_WAIT_SECONDS:-1800} # for the export, and again for the script in it
pause_seconds=${CACHEWARMER_PAUSE_SECONDS:-5}
exec >>"$log" 2>&1

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }

fail() {
  say "failed: $*"
  exit 1
}

# again SECONDS WHAT COMMAND...: runs it until it succeeds, or gives up after so many seconds.
again() {
  until=$(($(date +%s) + $1))
  what=$2
  shift 2
  until "$@"; do
    [ "$(date +%s)" -lt "$until" ] || return 1
    say "$what: not yet; again in $pause_seconds s"
    sleep "$pause_seconds"
  done
}

has_mount_nfs() { command -v mount.nfs >/dev/null 2>&1 || [ -x /sbin/mount.nfs ] || [ -x /usr/sbin/mount.nfs ]; }

install_nfs() {
  if command -v apt-get >/dev/null; then
    apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends nfs-common
  elif command -v dnf >/dev/null; then
    dnf -q -y install nfs-utils
  else
    zypper -q -n install nfs-client
  fi
}

kernel_knows_nfs() { modprobe -q nfs 2>/dev/null || grep -qw nfs /proc/filesystems; }

# Without mount.nfs the kernel mounts by itself; it asks the server's portmapper too, but looks up no names.
mount_export() {
  options=ro,hard,nolock,proto=tcp
  if has_mount_nfs; then
    mount -t nfs -o "$options,retry=0${more:+,$more}" "$from" "$BOOTSTRAP_PATH"
  else
    address=$(getent ahosts "$BOOTSTRAP_MOUNT_ADDRESS" | head -n 1 | cut -d ' ' -f 1)
    mount -i -t nfs -o "$options,vers=3,mountproto=tcp,addr=$address${more:+,$more}" "$from" "$BOOTSTRAP_PATH"
  fi
}

script_is_there() { [ -s "$BOOTSTRAP_PATH/$BOOTSTRAP_SCRIPT" ]; }

# What runs as root is what the manager was installed from, or nothing: a copy is looked at, since the folder may change.
copy_folder() {
  from=$(dirname -- "$BOOTSTRAP_PATH/$BOOTSTRAP_SCRIPT")
  rm -rf -- "$copy"
  mkdir -p -- "$copy" && cp -- "$from/SHA256SUMS" "$copy/SHA256SUMS" || return 1
  if [ "$(sha256sum "$copy/SHA256SUMS" | cut -d ' ' -f 1)" != "$BOOTSTRAP_SHA256" ]; then
    say "the folder is not the one that the manager was installed from: run the manager's bootstrap script again"
    return 1
  fi
  sed 's/^[0-9a-f]* [ *]//' "$copy/SHA256SUMS" | while IFS= read -r file; do
    mkdir -p -- "$(dirname -- "$copy/$file")" && cp -- "$from/$file" "$copy/$file" || exit 1
  done || return 1
  (cd "$copy" && sha256sum --check --quiet --strict SHA256SUMS)
}

run_script() {
  script=$BOOTSTRAP_PATH/$BOOTSTRAP_SCRIPT
  if [ -n "${BOOTSTRAP_SHA256-}" ]; then
    copy_folder || return 1
    script=$copy/$(basename -- "$BOOTSTRAP_SCRIPT")
  fi
  if head -n 1 -- "$script" | grep -q '^#!.*bash'; then shell="bash"; else shell="sh"; fi
  (umask 022 && "$shell" -- "$script")
}

unmount() {
  cd /
  rm -rf -- "$copy"
  if [ -n "${mounted-}" ]; then umount "$BOOTSTRAP_PATH" || umount -l "$BOOTSTRAP_PATH"; fi
  rmdir "$BOOTSTRAP_PATH" 2>/dev/null
}

[ -r "$here/launch.env" ] || fail "$here/launch.env is missing: nothing says what this machine is for"
set -a # every value goes to the bootstrap script
# shellcheck disable=SC1091
. "$here/launch.env"
set +a
export BOOTSTRAP_PATH
say "becoming a worker of $STORAGE_ACCOUNT/$QUEUE_PREFIX"

if ! has_mount_nfs; then
  if [ -n "${CACHEWARMER_ALLOW_INTERNET-}" ]; then
    again "$wait_seconds" "installing the NFS client" install_nfs || fail "the NFS client could not be installed"
  elif kernel_knows_nfs; then
    say "this image has no mount.nfs, and nothing may be fetched: the kernel mounts by itself, with NFSv3"
  else
    fail "this image has no mount.nfs, its kernel knows no NFS, and nothing may be fetched:" \
      "use an image with nfs-common, or set allow_internet"
  fi
fi

mkdir -p "$BOOTSTRAP_PATH" || fail "no directory to mount at"
trap unmount EXIT
more=${BOOTSTRAP_MOUNT_OPTIONS-}
case $BOOTSTRAP_MOUNT_ADDRESS in
*:*) from=[$BOOTSTRAP_MOUNT_ADDRESS]:$BOOTSTRAP_EXPORT_PATH ;;
*) from=$BOOTSTRAP_MOUNT_ADDRESS:$BOOTSTRAP_EXPORT_PATH ;;
esac
again "$wait_seconds" "mounting $from" mount_export || fail "$from can't be mounted"
mounted=yes
again "$wait_seconds" "waiting for $BOOTSTRAP_SCRIPT" script_is_there || fail "there is no $BOOTSTRAP_SCRIPT in $from"
say "running $BOOTSTRAP_SCRIPT from $from"
again "$wait_seconds" "running $BOOTSTRAP_SCRIPT" run_script || fail "$BOOTSTRAP_SCRIPT did not succeed"
rm -f -- "$here/launch.env"
say "done"
