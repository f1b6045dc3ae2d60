#!/usr/bin/env bash
# packages.sh GROUP…: installs the Debian packages of each group (nfs, node, postgres, fuse, kernel, bundle, deploy, cloud,
# slurm, deb, image, spin, browser, monitoring, shells, kerberos, peers) that are missing, where it may. Exit code 1, with what is missing, where it may not.
set -uo pipefail
missing=()
want() { command -v "$1" >/dev/null 2>&1 || missing+=("${@:2}"); }
PATH=$PATH:/usr/sbin:/sbin
for group in "$@"; do
  case $group in
    nfs) want ganesha.nfsd nfs-ganesha nfs-ganesha-vfs; want rpcbind rpcbind; want nfs-cat libnfs-utils ;;
    node) want node nodejs; want npm npm ;;
    bundle) want objdump binutils; want make make; want tclsh tcl; want dpkg-source dpkg-dev; want perl perl
      /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv) ;;
    deploy) want debootstrap debootstrap; want systemd-nspawn systemd-container; want ssh openssh-client
      want shellcheck shellcheck; want systemd-analyze systemd ;;
    cloud) want cloud-init cloud-init; want unshare util-linux; want openssl openssl; want shellcheck shellcheck ;;
    postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
      [ -e /usr/share/i18n/locales/de_DE ] || missing+=(locales)
      want pgbouncer pgbouncer ;;
    slurm) want slurmctld slurmctld; want slurmd slurmd; want sbatch slurm-client; want munged munge ;;
    deb) want dh debhelper; want lintian lintian ;;
    image) want umoci umoci; [ -f /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates) ;;
    browser) want chromium chromium ;;
    monitoring) want prometheus prometheus; want promtool prometheus ;;
    shells) want bash bash; want zsh zsh; want fish fish ;;
    kerberos) want krb5kdc krb5-kdc; want kadmin.local krb5-admin-server; want kinit krb5-user ;;
    spin) want spin spin; want gcc gcc ;;
    peers) want gcc gcc libc6-dev; [ -f /usr/include/nfsc/libnfs-raw.h ] || missing+=(libnfs-dev) ;;
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
case " ${missing[*]} " in
*" cloud-init "*) # for the tests' own machines; it must not take this one for new when it boots again
  mkdir -p /etc/cloud && touch /etc/cloud/cloud-init.disabled ;;
esac
case " ${missing[*]} " in
*" postgresql "*) # the tests start servers of their own; the package's must not run beside them
  mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf ;;
esac
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
