#!/usr/bin/env bash
# npm start [-- FLAGS]: installs what is missing, compiles, and runs the engine in the foreground.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh run
exec bin/linkspan daemon "$@"
