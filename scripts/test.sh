#!/usr/bin/env bash
# npm test: installs what is missing, compiles, checks the style, runs every test on the real kernel, and says how many passed.
#   npm test -- test/dns        only these vitest files (no acceptance)
set -uo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test || exit 1
export CI=${CI:-} DOCKER_CLI_HINTS=false DOCKER_BUILDKIT=0
# A client configuration of the person who runs the tests (contexts, plugins, credentials) must not change them.
DOCKER_CONFIG=$(mktemp -d)
export DOCKER_CONFIG
report=$(mktemp)
trap 'rm -rf "$DOCKER_CONFIG" "$report"' EXIT
unset DOCKER_HOST

passed=0
failed=0
if [ $# -eq 0 ]; then
  echo "== style"
  if npx --no-install biome check . ; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  # vitest runs tests without looking at types: a test of what is no longer there would be found only when it runs.
  if npx --no-install tsc -p test; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi
echo "== tests"
npx --no-install vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@"
code=$?
read -r p f < <(node -e '
  const r = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  const broken = r.testResults.filter((t) => t.status === "failed" && t.assertionResults.every((a) => a.status !== "failed")).length;
  console.log(r.numPassedTests, r.numFailedTests + broken);
' "$report" 2>/dev/null || echo "0 1")
passed=$((passed + p))
failed=$((failed + f))
[ $code -ne 0 ] && [ "$f" = 0 ] && failed=$((failed + 1))
if [ $# -eq 0 ]; then
  for script in test/acceptance/*.sh; do
    [ -x "$script" ] || continue
    echo "== $script"
    out=$(mktemp)
    timeout 1500 "$script" 2>&1 | tee "$out" | grep -vE '^ok '
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$out" | tail -1)
    rm -f "$out"
    if [ -z "$line" ]; then
      echo "$script did not finish"
      failed=$((failed + 1))
      continue
    fi
    passed=$((passed + $(cut -d' ' -f1 <<<"$line")))
    failed=$((failed + $(cut -d' ' -f3 <<<"$line")))
  done
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
