#!/usr/bin/env bash
# Prints the path of a file with what the chart renders with charts/pat-operator/ci/NAME-values.yaml, in an order for `kubectl
# apply`, and makes it first where needed. What the chart copies is taken from the present config, not from when the copies
# were generated. Files and the program that makes them are outside the checkout, named for all that they are made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -eq 1 ] || { echo "usage: ${0##*/} NAME   for example: ${0##*/} minimal" >&2; exit 2; }
values=charts/pat-operator/ci/$1-values.yaml
[ -f "$values" ] || { echo "chart: $values does not exist" >&2; exit 2; }
cache=${PAT_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pat-operator}/chart

# sum PATH...: a checksum of names and contents of files, tests aside.
sum() {
  find "$@" -type f ! -name '*_test.go' ! -path '*/testdata/*' | LC_ALL=C sort | while IFS= read -r file; do
    printf '%s\n' "$file"
    cat "$file"
  done | git hash-object --stdin | cut -c 1-16
}

program=$cache/render-$(sum test/chart)-$(go env GOVERSION)
out=$cache/$1-$(sum charts config/crd config/namespaces config/policy config/rbac config/webhook hack/chart test/chart).yaml
if [ ! -f "$out" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  if command -v flock >/dev/null; then flock 9; fi
fi
if [ ! -f "$out" ]; then
  find "$cache" -maxdepth 1 -type f -mtime +30 ! -name .lock -delete
  if [ ! -x "$program" ]; then
    echo "chart: building what renders it (once for this machine)" >&2
    go -C test/chart build -o "$program.$$" ./render >&2
    mv "$program.$$" "$program"
  fi
  copy=$(mktemp -d)
  trap 'rm -rf "$copy"' EXIT
  cp -R charts/pat-operator "$copy"
  hack/chart/files.sh "$copy/pat-operator/files"
  {
    # The namespace of the release, which Helm creates, and an administrator labels: the first of the file.
    sed '/^---$/,$d' config/namespaces/namespaces.yaml
    "$program" --chart "$copy/pat-operator" --values "$values"
  } >"$out.$$"
  mv "$out.$$" "$out"
fi
printf '%s\n' "$out"
