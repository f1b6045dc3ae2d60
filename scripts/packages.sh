#!/usr/bin/env bash
# packages.sh GROUP…: installs the Debian packages of each group (nfs, node, fuse, kernel, bundle, deploy) that are missing,
# where it may. Exit code 1, with what is missing, where it may not.
set -uo pipefail
missing=()
want() { command -v "$1" >/dev/null 2>&1 || missing+=("${@:2}"); }
PATH=$PATH:/usr/sbin:/sbin
for group in "$@"; do
  case $group in
    nfs) want ganesha.nfsd nfs-ganesha nfs-ganesha-vfs; want rpcbind rpcbind; want nfs-cat libnfs-utils ;;
    node) want node nodejs; want npm npm ;;
    bundle) want objdump binutils
      /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
      compgen -G '/usr/lib/*/libpython3.*.so.1.0' >/dev/null || missing+=(python3-dev) ;;
    deploy) want debootstrap debootstrap; want systemd-nspawn systemd-container; want ssh openssh-client
      want shellcheck shellcheck; want systemd-analyze systemd; want cloud-init cloud-init ;;
    fuse) want fusermount3 fuse3 ;;
    kernel) want qemu-system-x86_64 qemu-system-x86; want debootstrap debootstrap; want mke2fs e2fsprogs ;;
    *) echo "packages.sh: unknown group $group" >&2; exit 2 ;;
  esac
done
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]} (sudo apt-get install ${missing[*]})" >&2
  exit 1
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
