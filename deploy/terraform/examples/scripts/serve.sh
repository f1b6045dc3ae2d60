#!/bin/sh
# Exports a directory with the kernel's NFS server; runs at every boot.
#   EXPORT_DIRECTORY  what to export
#   EXPORT_TO         to whom and how, as exports(5) writes it: "10.0.1.0/24(ro,no_subtree_check) …"
#   NFSD_THREADS      server threads: each cold read holds one until the origin has answered
#   MOUNTD_PORT       fixed, so that a firewall can let it through
set -eu

: "${EXPORT_DIRECTORY:?}" "${EXPORT_TO:?}" "${NFSD_THREADS:=64}" "${MOUNTD_PORT:=20048}"

mkdir -p /etc/exports.d /etc/nfs.conf.d
echo "$EXPORT_DIRECTORY $EXPORT_TO" >/etc/exports.d/cachewarmer.exports
cat >/etc/nfs.conf.d/cachewarmer.conf <<END
[nfsd]
threads = $NFSD_THREADS
vers3 = y

[mountd]
port = $MOUNTD_PORT
END

if [ -d /run/systemd/system ]; then
  systemctl restart nfs-server.service
  exit 0
fi
# A machine without systemd: what those services do.
modprobe nfsd
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
pidof rpcbind >/dev/null || rpcbind -w
exportfs -ra
rpc.nfsd "$NFSD_THREADS"
pidof rpc.mountd >/dev/null || rpc.mountd -p "$MOUNTD_PORT"
