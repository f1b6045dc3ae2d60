#!/bin/sh
# Installs the manager or a worker on this machine, from the folder that holds this script. Run again: upgrades.
#   install.sh manager|worker      (settings come in environment variables, see docs/deploy.md)
#   install.sh programs            only the commands: for a machine that only submits jobs
# shellcheck disable=SC2016,SC2034  # single quotes are meant; some names are read through eval
set -eu
umask 077

role=${1:-}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${CACHEWARMER_ROOT:-} # another root directory, for the tests
bin=$root/usr/local/bin
lib=$root/usr/local/lib/cachewarmer
etc=$root/etc/cachewarmer
units=$root/etc/systemd/system
changed=

fail() {
  echo "cachewarmer: $*" >&2
  exit 1
}

say() { echo "cachewarmer: $*"; }

# put MODE SOURCE DESTINATION: replaces a file in one step, and notes whether that changed anything.
put() {
  if [ -f "$3" ] && cmp -s "$2" "$3"; then
    chmod "$1" "$3"
    return
  fi
  cp -- "$2" "$3.new"
  chmod "$1" "$3.new"
  mv -f -- "$3.new" "$3"
  changed=yes
}

# line NAME VALUE: one line of a systemd EnvironmentFile; within double quotes it takes \ " ` $ after a backslash.
line() {
  case $2 in
  *'
'*) fail "$1 can't hold a line break" ;;
  esac
  printf '%s="%s"\n' "$1" "$(printf '%s' "$2" | sed 's/[\\"`$]/\\&/g')"
}

lines() {
  for name in "$@"; do
    eval "value=\${$name-}"
    line "$name" "$value"
  done
}

systemctl_here() {
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi
}

case $role in
manager | worker | programs) ;;
*) fail "usage: $0 manager|worker|programs" ;;
esac
[ "$(id -u)" -eq 0 ] || fail "must run as root"

broker=${CACHEWARMER_BROKER-}
if [ "$role" != programs ] && [ -z "$broker" ]; then
  [ -n "${STORAGE_ACCOUNT-}" ] || fail "neither CACHEWARMER_BROKER nor STORAGE_ACCOUNT is set"
  [ -n "${QUEUE_PREFIX-}" ] || fail "QUEUE_PREFIX is not set"
fi

# Before anything is replaced: what can't work is to fail here.
instances=${CACHEWARMER_WORKERS_PER_HOST:-1}
case $instances in
'' | *[!0-9]* | 0) fail "CACHEWARMER_WORKERS_PER_HOST must be a number from 1" ;;
esac
workers=${VMSS_WORKER_COUNT-}
case $workers in
*[!0-9]*) fail "VMSS_WORKER_COUNT must be a number; 0: no scale set" ;;
esac
# With settings the program decides; without, it starts 12 workers unless told, as the first CacheWarmer did.
if [ "$role" = manager ] && [ -z "$broker${CACHEWARMER_SETTINGS-}${CACHEWARMER_CONFIG-}" ] && [ "${workers:-12}" -gt 0 ]; then
  for name in BOOTSTRAP_MOUNT_ADDRESS BOOTSTRAP_EXPORT_PATH BOOTSTRAP_SCRIPT; do
    eval "value=\${$name-}"
    [ -n "$value" ] || fail "$name is not set, which the ${workers:-12} workers of VMSS_WORKER_COUNT (default: 12) install themselves from; 0: no scale set"
  done
  [ -n "${VMSS_SSHPUBLICKEY-}${VMSS_PASSWORD-}" ] ||
    fail "neither VMSS_SSHPUBLICKEY nor VMSS_PASSWORD is set, which the ${workers:-12} workers of VMSS_WORKER_COUNT (default: 12) need; 0: no scale set"
fi

# The environment of a first CacheWarmer may name the folder; what lies beside this script is what counts. The checksums
# say that a copy is whole. That it is the right one, only a sum that came another way can say.
if [ -n "${BOOTSTRAP_SHA256-}" ]; then
  [ "$(sha256sum "$here/SHA256SUMS" | cut -d ' ' -f 1)" = "$BOOTSTRAP_SHA256" ] ||
    fail "$here/SHA256SUMS is not the file that this installation was told to expect (BOOTSTRAP_SHA256): somebody changed the folder, or prepared it again; tell the new sum, if the change is meant"
fi
(cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) || fail "$here: a file differs from SHA256SUMS; prepare the folder again"

# One at a time: a manager and a worker may come onto the same host at the same moment.
mkdir -p "$bin"
exec 9<"$bin"
flock 9

# The new program must run here before it takes the old one's place.
trial=$bin/.cachewarmer.trial
cp -- "$here/cachewarmer" "$trial"
chmod 755 "$trial"
if ! version=$("$trial" --version 2>&1); then
  rm -f -- "$trial"
  fail "the program of $here does not run on this machine, and nothing was replaced: $(printf '%s' "$version" | tail -n 1)"
fi
rm -f -- "$trial"

mkdir -p "$lib" "$etc" "$units"
chmod 755 "$bin" "$lib" "$etc" "$units"
put 755 "$here/cachewarmer" "$bin/cachewarmer"
for name in cachewarmer-manager cachewarmer-worker cachewarmer-jobsubmitter; do
  [ "$(readlink "$bin/$name" || true)" = cachewarmer ] || ln -sfn cachewarmer "$bin/$name"
done
put 755 "$here/remove.sh" "$lib/remove"
if [ "$role" = programs ]; then
  say "commands installed in $bin"
  exit 0
fi

if [ -z "$root" ] && ! id cachewarmer >/dev/null 2>&1; then
  useradd --system --user-group --home-dir /var/lib/cachewarmer --no-create-home --shell /usr/sbin/nologin cachewarmer
fi
put 755 "$here/backoff" "$lib/backoff"
put 755 "$here/first_generation.sh" "$lib/first_generation"

fresh=$etc/$role.fresh
if [ -n "${CACHEWARMER_SETTINGS-}" ]; then
  printf '%s\n' "$CACHEWARMER_SETTINGS" >"$fresh"
  put 640 "$fresh" "$etc/$role.toml"
  [ -n "$root" ] || chgrp cachewarmer "$etc/$role.toml"
  CACHEWARMER_CONFIG=/etc/cachewarmer/$role.toml
elif [ -f "$etc/$role.toml" ]; then
  rm -f -- "$etc/$role.toml"
  changed=yes
fi
{
  echo "# Written by bootstrap.cachewarmer-$role.sh; run it again to change it."
  lines STORAGE_ACCOUNT STORAGE_ACCOUNT_RESOURCE_GROUP QUEUE_PREFIX
  if [ "$role" = manager ]; then
    # What its workers' folder is to be, which is the one that it was installed from.
    BOOTSTRAP_SHA256=$(sha256sum "$here/SHA256SUMS" | cut -d ' ' -f 1)
    lines BOOTSTRAP_MOUNT_ADDRESS BOOTSTRAP_EXPORT_PATH BOOTSTRAP_SCRIPT BOOTSTRAP_SHA256 \
      VMSS_USERNAME VMSS_SSHPUBLICKEY VMSS_SUBNET VMSS_WORKER_COUNT
  fi
  # Who the service is to the NFS server: root, unless told, as the first CacheWarmer was.
  : "${CACHEWARMER_NFS_UID:=0}" "${CACHEWARMER_NFS_GID:=0}"
  if [ "$CACHEWARMER_NFS_UID" = own ]; then CACHEWARMER_NFS_UID='' CACHEWARMER_NFS_GID=''; fi
  for name in CACHEWARMER_OPTIONS AZURE_CLIENT_ID AZURE_SUBSCRIPTION_ID AZURE_STORAGE_ENDPOINT_SUFFIX CACHEWARMER_CONFIG \
    CACHEWARMER_IMDS_URL CACHEWARMER_NFS_UID CACHEWARMER_NFS_GID CACHEWARMER_NFS_GIDS no_proxy; do
    eval "value=\${$name-}"
    [ -z "$value" ] || line "$name" "$value"
  done
} >"$fresh"
put 644 "$fresh" "$etc/$role.env"

# A broker's URL and a proxy's address may hold a password, so they are kept with the secrets.
{
  echo "# Written by bootstrap.cachewarmer-$role.sh; only root may read this."
  connection=${AZURE_STORAGE_CONNECTION_STRING-}
  if [ -z "$connection" ] && [ -n "${STORAGE_KEY-}" ]; then
    connection="DefaultEndpointsProtocol=https;AccountName=$STORAGE_ACCOUNT;AccountKey=$STORAGE_KEY;EndpointSuffix=${AZURE_STORAGE_ENDPOINT_SUFFIX:-core.windows.net}"
  fi
  [ -z "$broker" ] || line CACHEWARMER_BROKER "$broker"
  [ -z "$connection" ] || line AZURE_STORAGE_CONNECTION_STRING "$connection"
  [ "$role" != manager ] || [ -z "${VMSS_PASSWORD-}" ] || line VMSS_PASSWORD "$VMSS_PASSWORD"
  for name in http_proxy https_proxy; do
    eval "value=\${$name-}"
    [ -z "$value" ] || line "$name" "$value"
  done
} >"$fresh"
put 600 "$fresh" "$etc/$role.secret.env"
rm -f -- "$fresh"

# dropin UNIT NAME SOURCE: a further file of a unit; without a source it is not there.
dropin() {
  if [ -n "$3" ]; then
    mkdir -p "$units/$1.d"
    chmod 755 "$units/$1.d"
    put 644 "$3" "$units/$1.d/$2"
  elif [ -f "$units/$1.d/$2" ]; then
    rm -f -- "$units/$1.d/$2"
    rmdir --ignore-fail-on-non-empty "$units/$1.d"
    changed=yes
  fi
}

files=cachewarmer-$role.service
[ "$role" = manager ] || files="$files cachewarmer-worker@.service"
mounts='' command=''
if [ "${CACHEWARMER_KERNEL_MOUNTS-}" = 1 ]; then
  mkdir -p "$root/mnt/cachewarmer"
  mounts=$here/systemd/kernel-mounts.conf
fi
if [ -n "$broker" ]; then
  command=$etc/$role.fresh
  printf '# The broker is CACHEWARMER_BROKER of %s.secret.env.\n[Service]\nExecStart=\nExecStart=/usr/local/bin/cachewarmer %s $CACHEWARMER_OPTIONS\n' \
    "$role" "$role" >"$command"
fi
for file in $files; do
  put 644 "$here/systemd/$file" "$units/$file"
  dropin "$file" kernel-mounts.conf "$mounts"
  dropin "$file" broker.conf "$command"
done
[ -z "$command" ] || rm -f -- "$command"
if [ -d "$root/etc/rsyslog.d" ]; then
  before=$changed
  changed=
  put 644 "$here/logging/rsyslog.conf" "$root/etc/rsyslog.d/40-cachewarmer.conf"
  [ -z "$changed" ] || systemctl_here try-restart rsyslog.service || true
  changed=$before
fi
if [ -d "$root/etc/logrotate.d" ]; then
  before=$changed
  put 644 "$here/logging/logrotate.conf" "$root/etc/logrotate.d/cachewarmer"
  changed=$before
fi

CACHEWARMER_ROOT=$root sh "$here/first_generation.sh" "$role"
systemctl_here daemon-reload
wanted=cachewarmer-$role.service
if [ "$role" = worker ]; then
  if [ "$instances" -gt 1 ]; then
    wanted=
    number=1
    while [ "$number" -le "$instances" ]; do
      wanted="$wanted cachewarmer-worker@$number.service"
      number=$((number + 1))
    done
  fi
  # What an earlier run enabled and this one does not want.
  for link in "$units"/multi-user.target.wants/cachewarmer-worker*.service; do
    [ -L "$link" ] || continue
    case " $wanted " in
    *" ${link##*/} "*) ;;
    *) systemctl_here disable --now "${link##*/}" ;;
    esac
  done
fi
# Whether a service still runs the program that was here before: the installation of the other role may have replaced it.
outdated() {
  pid=$(systemctl_here show -P MainPID "$1")
  case $(readlink "/proc/${pid:-0}/exe" || true) in
  *' (deleted)') return 0 ;;
  *) return 1 ;;
  esac
}

for unit in $wanted; do
  systemctl_here enable --quiet "$unit"
  if [ -n "$changed" ] || outdated "$unit"; then action=restart; else action=start; fi
  begun=$(date +%s)
  SYSTEMD_COLORS=0 systemctl_here "$action" "$unit" || {
    # What the service itself said. "systemctl status" would cut it to the width of a terminal.
    journalctl --quiet --no-pager --output=cat --since="@$begun" --unit="$unit" >&2 || true
    fail "$unit did not start"
  }
done
say "$role installed from $here${changed:+ (changed)}: $wanted"
