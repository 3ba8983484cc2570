#!/usr/bin/env bash
# Runs go test with the race detector over every package: without the tests that call long.Only; with LONG=1 these alone;
# with RUN set only the tests that match it, long ones too, and fails where none does. Arguments are further flags for go test.
# The chart's tests are a module of their own, since Helm is large; what it shares with this one is compiled once. They are not
# concurrent and run without the detector, and `make lint` vets them. pkg/patauth is a module of its own, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# One package more than there are processors: packages wait for their control planes.
flags=(-race -timeout 20m -p $(($(nproc 2>/dev/null || echo 2) + 1)) "$@")
# The detector otherwise sleeps for a second at the end of each process, of which the scripts of kubectl-pat start hundreds.
export GORACE="atexit_sleep_ms=0 ${GORACE:-}"
chart=(-C test/chart test -vet=off -timeout 20m "$@")
if ! command -v "$(go env CC)" >/dev/null; then
  echo "test: no C compiler here, which the race detector needs: running without it" >&2
  flags=("${flags[@]:1}")
fi

# What takes longest comes first, so that none of it is left alone at the end.
longest=(./test/e2e ./controllers ./cmd/kubectl-pat ./test/faults ./test/browser)

# Lines of "folder function" of all tests, and those of them that call long.Only.
tests() {
  find . -name '*_test.go' -not -path '*/.*/*' -not -path './hack/tools/*' -not -path './hack/controlplane/*' -not -path './hack/image/*' -not -path './test/clients/*' -exec awk -v "only=${1:-}" '
    /^func (Test|Fuzz|Example)/ {name = $2; sub(/\(.*/, "", name); dir = FILENAME; sub("/[^/]*$", "", dir); if (!only) print dir, name}
    only && /long\.(Only|Form)\(/ {print dir, name}' {} + | sort -u
}

if [ -n "${RUN:-}" ]; then
  # Only the packages that have such a test are built and run: a package's TestMain may start a control plane.
  run=$RUN
  mapfile -t packages < <(tests | TOP=${RUN%%/*} awk '$2 ~ ENVIRON["TOP"] {print $1}' | sort -u)
  flags+=(-count=1 -v)
elif [ -n "${LONG:-}" ]; then
  run="^($(tests long | cut -d ' ' -f 2 | sort -u | paste -sd '|'))$"
  mapfile -t packages < <({ printf '%s\n' "${longest[@]}"; tests long | cut -d ' ' -f 1 | sort -u; } | awk '!seen[$0]++')
  flags+=(-timeout 40m)
else
  status=0
  go test -short "${flags[@]}" "${longest[@]}" ./... || status=$?
  go -C pkg/patauth test -short "${flags[@]}" ./... || status=$?
  go "${chart[@]}" ./... || status=$?
  exit $status
fi

nothing() { echo "test: no test matches RUN=$run" >&2; exit 1; }
[ ${#packages[@]} -gt 0 ] || nothing
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
mapfile -t charts < <(printf '%s\n' "${packages[@]}" | grep '^\./test/chart' || true)
mapfile -t patauth < <(printf '%s\n' "${packages[@]}" | grep '^\./pkg/patauth' || true)
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | grep -vE '^\./(test/chart|pkg/patauth)' || true)
if [ ${#packages[@]} -gt 0 ]; then go test "${flags[@]}" -run "$run" "${packages[@]}" | tee "$out" || status=$?; fi
if [ ${#patauth[@]} -gt 0 ]; then go -C pkg/patauth test "${flags[@]}" -run "$run" ./... | tee -a "$out" || status=$?; fi
if [ ${#charts[@]} -gt 0 ]; then go "${chart[@]}" -count=1 -v -run "$run" ./... | tee -a "$out" || status=$?; fi
if [ -n "${RUN:-}" ] && [ $status -eq 0 ] && ! grep -q '^=== RUN' "$out"; then nothing; fi
exit $status
