#!/usr/bin/env bash
# Runs go test with the race detector over every package that has a test to run: without the tests that call long.Only; with LONG=1
# these and those that call long.Form; with RUN set the tests that match it, long ones too, and fails where none does. Arguments are
# further flags for go test. The chart's tests are a module of their own, since Helm is large; what it shares with this one is compiled
# once. They are not concurrent and run without the detector, and `make lint` vets them. pkg/patauth is a module of its own, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# One package more than there are processors: packages wait for their control planes.
flags=(-race -timeout 20m -p $(($(nproc 2>/dev/null || echo 2) + 1)) "$@")
# The detector otherwise sleeps for a second at the end of each process, of which the scripts of kubectl-pat start hundreds.
export GORACE="atexit_sleep_ms=0 ${GORACE:-}"
if ! command -v "$(go env CC)" >/dev/null; then
  echo "test: no C compiler here, which the race detector needs: running without it" >&2
  flags=("${flags[@]:1}")
fi

# What takes longest comes first, so that none of it is left alone at the end.
longest=(./test/e2e ./controllers ./test/faults ./cmd/kubectl-pat ./test/streams ./test/browser)

# Lines of "folder function" of all tests; with an argument those that call long.Only, or long.Form, as it says.
tests() {
  find . -name '*_test.go' -not -path '*/.*/*' -not -path './hack/tools/*' -not -path './hack/controlplane/*' -not -path './hack/image/*' -not -path './test/clients/*' -exec awk -v "calls=${1:-}" '
    /^func (Test|Fuzz|Example)/ {name = $2; sub(/\(.*/, "", name); dir = FILENAME; sub("/[^/]*$", "", dir); if (!calls && name != "TestMain") print dir, name}
    calls && $0 ~ "long[.](" calls ")[(]" {print dir, name}' {} + | sort -u
}

run=()
if [ -n "${RUN:-}" ]; then
  wanted=$(tests | TOP=${RUN%%/*} awk '$2 ~ ENVIRON["TOP"]')
  run=(-count=1 -v -run "$RUN")
elif [ -n "${LONG:-}" ]; then
  wanted=$(tests 'Only|Form')
  run=(-run "^($(cut -d ' ' -f 2 <<<"$wanted" | sort -u | paste -sd '|'))$")
  flags+=(-timeout 40m)
else
  # It takes seconds to link a package of which no test would run.
  wanted=$(comm -23 <(tests) <(tests Only))
  run=(-short)
fi

# packages FLAGS: those with a test to run whose folder grep finds with these flags, the longest first.
packages() {
  { printf '%s\n' "${longest[@]}" | grep -Fx -f <(cut -d ' ' -f 1 <<<"$wanted"); cut -d ' ' -f 1 <<<"$wanted"; } | awk '!seen[$0]++' | grep "$@" || true
}

nothing() { echo "test: no test matches RUN=${RUN:-}" >&2; exit 1; }
[ -n "$wanted" ] || nothing
mapfile -t main < <(packages -vE '^\./(test/chart|pkg/patauth)')
out=$(mktemp)
trap 'rm -f "$out" "$out.chart"' EXIT
status=0 chart=
if [ -n "$(packages '^\./test/chart')" ]; then
  # Two fifths of its time went to the garbage of its templates.
  GOGC=400 go -C test/chart test -vet=off -timeout 20m "$@" "${run[@]}" ./... >"$out.chart" 2>&1 &
  chart=$!
fi
if [ ${#main[@]} -gt 0 ]; then go test "${flags[@]}" "${run[@]}" "${main[@]}" | tee "$out" || status=$?; fi
if [ -n "$(packages '^\./pkg/patauth')" ]; then go -C pkg/patauth test "${flags[@]}" "${run[@]}" ./... | tee -a "$out" || status=$?; fi
if [ -n "$chart" ]; then
  wait "$chart" || status=$?
  tee -a "$out" <"$out.chart"
fi
if [ -n "${RUN:-}" ] && [ $status -eq 0 ] && ! grep -q '^=== RUN' "$out"; then nothing; fi
exit $status
