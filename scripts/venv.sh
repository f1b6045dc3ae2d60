#!/usr/bin/env bash
# venv.sh DIRECTORY EXTRAS: makes the virtual environment and installs the project with its pinned dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
directory=$1 extras=$2

if [ ! -x "$directory/bin/pip" ]; then
  python=
  for one in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$one" >/dev/null && "$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$one
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "cachewarmer needs Python 3.11 or newer" >&2
    exit 1
  fi
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
    else
      echo "please install python$version-venv first: sudo apt-get install python$version-venv" >&2
      exit 1
    fi
  fi
  "$python" -m venv "$directory"
fi
echo "setting up $directory ($extras)" >&2
"$directory/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
