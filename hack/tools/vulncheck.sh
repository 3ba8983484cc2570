#!/usr/bin/env bash
# Runs govulncheck (its path is the argument) over the modules that we ship. Its database is online: where that cannot be
# reached, says so and passes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
"$1" ./... >"$out" 2>&1 || status=$?
[ $status -ne 0 ] || "$1" -C pkg/patauth ./... >>"$out" 2>&1 || status=$?
cat "$out"
# 3 is its answer for a vulnerability that the code calls.
if [ $status -ne 0 ] && [ $status -ne 3 ] && grep -q 'fetching vulnerabilities' "$out"; then
  echo "vulncheck: SKIPPED, the vulnerability database cannot be reached from here"
  exit 0
fi
exit $status
