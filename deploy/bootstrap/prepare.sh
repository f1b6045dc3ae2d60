#!/bin/sh
# Fills a bootstrap folder: the program with its checksums, the install scripts, the units, the log configuration.
#   prepare.sh --to DIRECTORY [--executable FILE | --download URL [--sha256 SUM]]
# Without --download nothing is fetched. The folder is usually a directory on an NFS export that is mounted here.
set -eu

fail() {
  echo "prepare.sh: $*" >&2
  exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
to='' executable='' url='' sum=''
while [ $# -gt 0 ]; do
  case $1 in
  --to | --executable | --download | --sha256) [ $# -ge 2 ] || fail "$1 needs a value" ;;
  esac
  case $1 in
  --to) to=$2 ;;
  --executable) executable=$2 ;;
  --download) url=$2 ;;
  --sha256) sum=$2 ;;
  *) fail "unknown option $1 (usage: prepare.sh --to DIRECTORY [--executable FILE | --download URL [--sha256 SUM]])" ;;
  esac
  shift 2
done
[ -n "$to" ] || fail "--to DIRECTORY is needed"

# In a checkout the units and log configuration lie beside this folder, in a release within it.
systemd=$here/systemd logging=$here/logging
[ -d "$systemd" ] || systemd=$here/../systemd
[ -d "$logging" ] || logging=$here/../logging
backoff=$systemd/backoff
[ -f "$backoff" ] || backoff=$here/backoff

mkdir -p -- "$to"
stage=$(mktemp -d "$to/.prepare.XXXXXX")
trap 'rm -rf -- "$stage"' EXIT
if [ -n "$url" ]; then
  if command -v curl >/dev/null; then
    curl --fail --location --silent --show-error --retry 3 --output "$stage/cachewarmer" "$url"
  else
    command -v wget >/dev/null || fail "$(hostname) has neither curl nor wget to download $url with"
    wget --quiet --tries=3 --output-document="$stage/cachewarmer" "$url"
  fi
else
  if [ -z "$executable" ]; then
    for executable in "$here/cachewarmer" "$here/../../dist/cachewarmer"; do
      [ -f "$executable" ] && break
    done
  fi
  [ -f "$executable" ] || fail "no program: give --executable FILE (\"make bundle\" makes dist/cachewarmer) or --download URL"
  cp -- "$executable" "$stage/cachewarmer"
fi
if [ -n "$sum" ]; then
  [ "$(sha256sum "$stage/cachewarmer" | cut -d ' ' -f 1)" = "$sum" ] || fail "the program's SHA-256 is not $sum"
fi
mkdir "$stage/systemd" "$stage/logging"
cp -- "$systemd"/cachewarmer-manager.service "$systemd"/cachewarmer-worker*.service "$systemd/kernel-mounts.conf" "$stage/systemd/"
cp -- "$logging/rsyslog.conf" "$logging/logrotate.conf" "$stage/logging/"
cp -- "$backoff" "$stage/backoff"
for name in install.sh remove.sh first_generation.sh bootstrap.cachewarmer-manager.sh bootstrap.cachewarmer-worker.sh; do
  cp -- "$here/$name" "$stage/$name"
done
chmod 755 "$stage/cachewarmer" "$stage/backoff" "$stage"/*.sh "$stage/systemd" "$stage/logging"
chmod 644 "$stage"/systemd/* "$stage"/logging/*
(cd "$stage" && find . -type f | LC_ALL=C sort | while read -r file; do sha256sum -- "$file"; done) >"$to/.SHA256SUMS.$$"
mv -f -- "$to/.SHA256SUMS.$$" "$stage/SHA256SUMS"
chmod 644 "$stage/SHA256SUMS"

# Files are replaced one by one, each in one step; the checksums come last and tell whether a copy is whole.
mkdir -p -- "$to/systemd" "$to/logging"
chmod 755 "$to" "$to/systemd" "$to/logging"
(cd "$stage" && find . -type f ! -name SHA256SUMS) | while read -r file; do
  cmp -s "$stage/$file" "$to/$file" || mv -f -- "$stage/$file" "$to/$file"
done
cmp -s "$stage/SHA256SUMS" "$to/SHA256SUMS" || mv -f -- "$stage/SHA256SUMS" "$to/SHA256SUMS"
echo "prepared $to; SHA-256 of its SHA256SUMS: $(sha256sum "$to/SHA256SUMS" | cut -d ' ' -f 1)"
