#!/bin/sh
# Installs or upgrades the manager from the bootstrap folder; docs/deploy.md lists the environment variables.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec sh "$here/install.sh" manager "$@"
