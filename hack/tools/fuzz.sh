#!/usr/bin/env bash
# Runs each fuzz target, each in its module, for a time (default 10s), one after another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
time=${1:-10s}
mapfile -t targets < <(
  find . -name '*_test.go' -not -path '*/.*/*' -not -path './hack/tools/*' -not -path './hack/controlplane/*' \
    -exec grep -HoE '^func Fuzz[[:alnum:]_]+' {} + | sed -E 's|/[^/]*:func | |' | sort -u)
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: no fuzz target found" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A target that ends its time is now and then failed by Go itself, with nothing found: go.dev/issue/75804, mended in Go 1.27.
lost_race() { grep -qx '    context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; }
for target in "${targets[@]}"; do
  read -r package name <<<"$target"
  for try in 1 2 3; do
    echo "fuzz: $name in $package for $time"
    # By default an input is made smaller for up to a minute, which would leave no time for new ones.
    go -C "$package" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 100x . 2>&1 | tee "$log" && break
    if ! lost_race || [ $try -eq 3 ]; then exit 1; fi
    echo "fuzz: go.dev/issue/75804; once more"
  done
done
