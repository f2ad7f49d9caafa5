#!/usr/bin/env bash
# npm run bench [-- NAME…]: every benchmark (or those named: attach api ports traffic dns apps overlay), each beside its peer in one run.
set -uo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh bench || exit 1
unset DOCKER_HOST
export DOCKER_CLI_HINTS=false DOCKER_BUILDKIT=0
code=0
for name in ${*:-attach api ports traffic dns apps overlay}; do
  [ -f "dist/bench/$name.js" ] || { [ $# -gt 0 ] && echo "no benchmark called $name" && code=1; continue; }
  echo "== $name"
  # nice 0, one at a time: two cores, and a benchmark next to another measures the other
  timeout 1800 node "dist/bench/$name.js" || { echo "$name failed"; code=1; }
done
exit $code
