#!/usr/bin/env bash
# Prints the path of the tool whose module is hack/tools/NAME, and builds it first where needed. Its folder is outside
# the checkout and named for the tool's version and Go's, so every clone on the machine shares one build, and the
# folder can be put on a PATH.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: ${0##*/} NAME" >&2; exit 2; }
name=$1
module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$name
[ -f "$module/go.mod" ] || { echo "tools: $module/go.mod does not exist" >&2; exit 2; }
cd "$module"
read -r package version < <(go list -f '{{.ImportPath}} {{.Module.Version}}' tool)
out=${PAT_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pat-operator}/bin/$name-$version-$(go env GOVERSION)

if [ ! -x "$out/$name" ]; then
  mkdir -p "$out"
  exec 9>"$out/.lock"
  if command -v flock >/dev/null; then flock 9; fi
  if [ ! -x "$out/$name" ]; then
    echo "tools: building $name $version (once for this machine)" >&2
    # Moved into place whole, so that an interrupted build leaves none.
    CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags '-s -w' -o "$out/.$name.$$" "$package" >&2
    mv "$out/.$name.$$" "$out/$name"
  fi
fi
printf '%s\n' "$out/$name"
