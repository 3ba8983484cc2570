#!/usr/bin/env bash
# Runs go test with the race detector over every package; with RUN set, only the tests that match it, and fails where
# none does. Arguments are further flags for go test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
flags=(-race -timeout 20m "$@")
if ! command -v "$(go env CC)" >/dev/null; then
  echo "test: no C compiler here, which the race detector needs: running without it" >&2
  flags=("${flags[@]:1}")
fi

# Those that take longest come first, so that none of them is left alone at the end.
if [ -z "${RUN:-}" ]; then
  exec go test "${flags[@]}" ./test/e2e ./test/faults ./controllers ./cmd/kubectl-pat ./test/browser ./...
fi

# Only the packages that have such a test are built and run: a package's TestMain may start a control plane.
mapfile -t packages < <(
  find . -name '*_test.go' -not -path '*/.*/*' -not -path './hack/tools/*' -not -path './hack/controlplane/*' \
    -exec grep -HoE '^func (Test|Fuzz|Example)[[:alnum:]_]*' {} + |
    TOP=$(sed 's,/[^|]*,,g' <<<"$RUN") \
      awk '{split($0, at, ":func ")} at[2] ~ ENVIRON["TOP"] {sub("/[^/]*$", "", at[1]); print at[1]}' | sort -u)
nothing() { echo "test: no test matches RUN=$RUN" >&2; exit 1; }
[ ${#packages[@]} -gt 0 ] || nothing

out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
go test "${flags[@]}" -count=1 -v -run "$RUN" "${packages[@]}" | tee "$out" || status=$?
if [ $status -eq 0 ] && ! grep -q '^=== RUN' "$out"; then nothing; fi
exit $status
