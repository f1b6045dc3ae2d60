# Reaches the bootstrap folder: the export is mounted for as long as the script runs, at $mounted, which is $root then; a plain
# directory is $root itself. Needs BOOTSTRAP_MOUNT_ADDRESS, BOOTSTRAP_EXPORT_PATH, BOOTSTRAP_MOUNT_OPTIONS and
# INSTALL_NFS_CLIENT. With REMOVING, a folder that can't be reached is left alone: a filer that is gone must not hold up the end
# of everything else. $scratch is for what else must be gone at the end.
PATH=$PATH:/usr/sbin:/sbin
root=$BOOTSTRAP_EXPORT_PATH
mounted=
scratch=

fail() {
  echo "cachewarmer: $*" >&2
  exit 1
}

give_up() {
  [ -z "${REMOVING-}" ] || {
    echo "cachewarmer: $*; what the folder holds stays there" >&2
    exit 0
  }
  fail "$*"
}

install_nfs_client() {
  [ "${INSTALL_NFS_CLIENT-}" = true ] ||
    give_up "$(hostname) has no NFS client (mount.nfs): install nfs-common or nfs-utils, or set install_nfs_client = true"
  if command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    apt-get update -qq && apt-get install -y -qq --no-install-recommends nfs-common
  elif command -v dnf >/dev/null; then
    dnf install -y -q nfs-utils
  else
    yum install -y -q nfs-utils
  fi >&2 || fail "the NFS client could not be installed on $(hostname)"
}

close_folder() {
  [ -z "$scratch" ] || rm -rf -- "$scratch"
  if [ -n "$mounted" ]; then
    umount "$mounted" || umount --lazy "$mounted"
    rmdir "$mounted"
  fi
}

open_folder() {
  trap close_folder EXIT
  [ -n "${BOOTSTRAP_MOUNT_ADDRESS-}" ] || return 0
  command -v mount.nfs >/dev/null || install_nfs_client
  root=$(mktemp -d /run/cachewarmer.XXXXXX)
  if ! mount -t nfs -o "$BOOTSTRAP_MOUNT_OPTIONS" "$BOOTSTRAP_MOUNT_ADDRESS:$BOOTSTRAP_EXPORT_PATH" "$root"; then
    rmdir "$root"
    give_up "$(hostname) could not mount $BOOTSTRAP_MOUNT_ADDRESS:$BOOTSTRAP_EXPORT_PATH with the options $BOOTSTRAP_MOUNT_OPTIONS"
  fi
  mounted=$root
}

open_folder
