#!/bin/bash
# Builds the program, as the first CacheWarmer's script of this name did. Source it before cachewarmer_prepare_bootstrap.sh:
# it sets CACHEWARMER_MANAGER_PATH, CACHEWARMER_WORKER_PATH and CACHEWARMER_JOBSUBMITTER_PATH, which name one file now.
_cachewarmer_deploy=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if sh "$_cachewarmer_deploy/bundle/build"; then
  CACHEWARMER_MANAGER_PATH=$(dirname -- "$_cachewarmer_deploy")/dist/cachewarmer
  CACHEWARMER_WORKER_PATH=$CACHEWARMER_MANAGER_PATH
  CACHEWARMER_JOBSUBMITTER_PATH=$CACHEWARMER_MANAGER_PATH
  export CACHEWARMER_MANAGER_PATH CACHEWARMER_WORKER_PATH CACHEWARMER_JOBSUBMITTER_PATH
else
  echo "cachewarmer_build.sh: the program was not built" >&2
  false
fi
