#!/bin/sh
# Waits, on a machine of the network, until a server exports what it should. A VM is "made" long before its setup is done.
#   EXPORT_ADDRESS   the server
#   EXPORT_PATH      what it exports
#   TRIES            with five seconds between them
set -eu

: "${EXPORT_ADDRESS:?}" "${EXPORT_PATH:?}" "${TRIES:=240}"
PATH=$PATH:/usr/sbin:/sbin

# This machine may still be at its own setup, which brings showmount.
if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null 2>&1 || true; fi
command -v showmount >/dev/null || {
  echo "there is no showmount on $(hostname): install nfs-common or nfs-utils" >&2
  exit 1
}
until showmount --no-headers -e "$EXPORT_ADDRESS" 2>/dev/null | cut -d ' ' -f 1 | grep -qxF "$EXPORT_PATH"; do
  TRIES=$((TRIES - 1))
  if [ "$TRIES" -le 0 ]; then
    echo "$EXPORT_ADDRESS does not export $EXPORT_PATH; look there at: journalctl -b -u 'nfs-*' and /var/log/cloud-init-output.log" >&2
    exit 1
  fi
  sleep 5
done
