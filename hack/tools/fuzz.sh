#!/usr/bin/env bash
# Runs each fuzz target of the module for a time (default 10s), one after another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
time=${1:-10s}
mapfile -t targets < <(
  find . -name '*_test.go' -not -path '*/.*/*' -not -path './hack/tools/*' -not -path './hack/controlplane/*' \
    -exec grep -HoE '^func Fuzz[[:alnum:]_]+' {} + | sed -E 's|/[^/]*:func | |' | sort -u)
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: there is no fuzz target" >&2; exit 1; }
for target in "${targets[@]}"; do
  read -r package name <<<"$target"
  echo "fuzz: $name in $package for $time"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package"
done
