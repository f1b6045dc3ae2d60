#!/bin/sh
# Removes what install.sh made: a role, or with "programs" the commands; shared parts go with the last role.
#   remove.sh manager|worker|programs|all
set -eu

role=${1:-}
root=${CACHEWARMER_ROOT:-}
etc=$root/etc/cachewarmer
units=$root/etc/systemd/system
lib=$root/usr/local/lib/cachewarmer

systemctl_here() {
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi
}

remove_role() {
  for script in "$lib/first_generation" "$(dirname -- "$0")/first_generation.sh"; do
    [ -f "$script" ] || continue
    sh "$script" "$1"
    break
  done
  rm -f -- "$root/var/log/cachewarmer-$1.log"*
  for link in "$units/multi-user.target.wants/cachewarmer-$1"*.service; do
    [ -L "$link" ] || continue
    systemctl_here disable --now --quiet "${link##*/}" || true
    rm -f -- "$link"
  done
  rm -rf -- "$units/cachewarmer-$1.service" "$units/cachewarmer-$1.service.d" "$etc/$1.env" "$etc/$1.secret.env" "$etc/$1.toml"
  # systemd keeps this one where a service was waiting for its next start.
  rm -rf -- "$root/run/cachewarmer-$1" "$root/run/cachewarmer-$1"-*
  if [ "$1" = worker ]; then rm -rf -- "$units/cachewarmer-worker@.service" "$units/cachewarmer-worker@.service.d"; fi
  systemctl_here daemon-reload
  systemctl_here reset-failed "cachewarmer-$1*" 2>/dev/null || true
}

# One at a time, as in install.sh.
if [ -d "$root/usr/local/bin" ]; then
  exec 9<"$root/usr/local/bin"
  flock 9
fi

case $role in
manager | worker) remove_role "$role" ;;
all)
  remove_role manager
  remove_role worker
  ;;
programs) ;;
*)
  echo "usage: $0 manager|worker|programs|all" >&2
  exit 2
  ;;
esac

# Somebody else's role is still here, or the folder holds a file that an operator put there.
if [ -e "$etc/manager.env" ] || [ -e "$etc/worker.env" ]; then exit 0; fi
for name in cachewarmer-manager cachewarmer-worker cachewarmer-jobsubmitter cachewarmer; do
  rm -f -- "$root/usr/local/bin/$name"
done
rm -rf -- "$lib" "$root/var/lib/cachewarmer" "$root/var/log/cachewarmer" "$root/etc/rsyslog.d/40-cachewarmer.conf" "$root/etc/logrotate.d/cachewarmer"
if [ -d "$etc" ]; then rmdir --ignore-fail-on-non-empty "$etc"; fi
if [ -d "$root/mnt/cachewarmer" ]; then rmdir --ignore-fail-on-non-empty "$root/mnt/cachewarmer"; fi
if [ -z "$root" ]; then
  # Until it is told that there is no such log any more, it would write what it has still to write.
  systemctl_here try-restart rsyslog.service || true
fi
rm -f -- "$root"/var/log/cachewarmer.log*
if [ -z "$root" ]; then
  if id cachewarmer >/dev/null 2>&1; then userdel cachewarmer; fi
fi
