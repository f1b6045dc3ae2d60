#!/bin/sh
#SBATCH --job-name=warm
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=256M
# Submits each TARGET to the broker and waits until all are warm: a job for others to depend on.
#
#   warm=$(sbatch --parsable warm.sh nfs://cache/projects/shot42)
#   sbatch --dependency=afterok:$warm --kill-on-invalid-dep=yes render.sh
#
# The broker is CACHEWARMER_BROKER, or the line CACHEWARMER_BROKER=... of the file that CACHEWARMER_ENV names.
# Options of "cachewarmer submit" may stand before the targets.
set -eu

if [ "$#" -eq 0 ]; then
  echo "usage: sbatch warm.sh [OPTION…] TARGET…" >&2
  exit 2
fi
if [ -n "${CACHEWARMER_ENV:-}" ]; then
  set -a
  # shellcheck disable=SC1090  # the site's own file
  . "$CACHEWARMER_ENV"
  set +a
fi
if [ -z "${CACHEWARMER_BROKER:-}" ]; then
  echo "warm.sh: set CACHEWARMER_BROKER, or name a file that sets it in CACHEWARMER_ENV" >&2
  exit 2
fi
exec "${CACHEWARMER:-cachewarmer}" submit --wait "$@"
