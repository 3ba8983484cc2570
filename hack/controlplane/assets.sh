#!/usr/bin/env bash
# Prints the folder that holds etcd, kube-apiserver, kube-controller-manager and kubectl, and fills it first
# where needed, by the first way that works: KUBEBUILDER_ASSETS, setup-envtest, a build from Go modules.
# The folder is outside the checkout, so every clone on the machine shares one build. With arguments, only the binaries that
# they name are looked after. KUBERNETES=1.33 chooses a version that has a folder here; KUBEBUILDER_ASSETS then gives etcd alone.
# CACHED=1 fetches and builds nothing, and fails where something is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binaries=(etcd kube-apiserver kube-controller-manager kubectl)
[ $# -eq 0 ] || binaries=("$@")
main=$here
if [ -n "${KUBERNETES:-}" ]; then
  here=$here/v$KUBERNETES
  [ -d "$here" ] || { echo "controlplane: no Kubernetes $KUBERNETES here, only" "$(cd "$main" && echo v*)" >&2; exit 1; }
fi
version=$(cd "$here" && go list -m -f "{{.Version}}" k8s.io/kubernetes)
cache=${PAT_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pat-operator}
out=$cache/controlplane/$version-$(go env GOOS)-$(go env GOARCH)
if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -z "${KUBERNETES:-}" ]; then
  out=$cache/controlplane/assets-$(printf %s "$KUBEBUILDER_ASSETS" | cksum | tr ' ' -)
fi

say() { printf 'controlplane: %s\n' "$*" >&2; }

missing() {
  local name
  for name in "${binaries[@]}"; do [ -x "$out/$name" ] || printf '%s\n' "$name"; done
}

# take DIR: use what DIR has of the binaries that are still missing.
take() {
  local name
  for name in $(missing); do
    if [ -x "$1/$name" ]; then ln -sfn "$1/$name" "$out/$name"; fi
  done
}

# build NAME: compile one binary and move it into place whole, so that an interrupted build leaves none.
build() {
  local name=$1 package=k8s.io/kubernetes/cmd/$1 flags v=k8s.io/component-base/version minor=${version#v*.}
  [ "$name" = etcd ] && package=go.etcd.io/etcd/server/v3
  flags="-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean"
  say "building $name $version from Go modules (minutes, once for this machine)"
  (cd "$here" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -v -trimpath -ldflags "$flags" -o "$out/.$name.$$" "$package") 2>&1 |
    awk -v name="$name" '/:|\(|error/ {print > "/dev/stderr"}
      ++n % 100 == 0 {printf "controlplane: %s: %d packages compiled\n", name, n > "/dev/stderr"}'
  mv "$out/.$name.$$" "$out/$name"
}

if [ -n "${CACHED:-}" ]; then
  [ -z "$(missing)" ] || exit 1
  printf '%s\n' "$out"
  exit
fi
mkdir -p "$out"
if [ -n "$(missing)" ]; then
  exec 9>"$out/.lock"
  if command -v flock >/dev/null; then flock -n 9 || { say "another process is filling $out, waiting"; flock 9; }; fi
  if [ -n "${KUBERNETES:-}" ] && missing | grep -qx etcd; then
    ln -sfn "$(KUBERNETES='' "$main/assets.sh" etcd)/etcd" "$out/etcd"
  fi
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -z "${KUBERNETES:-}" ]; then
    take "$KUBEBUILDER_ASSETS"
  elif [ -n "$(missing)" ]; then
    say "asking setup-envtest for $version"
    if dir=$(cd "$main/../tools/setup-envtest" && go tool setup-envtest use "${version#v}" -p path 2>"$out/.setup-envtest.log"); then
      take "$dir"
    else
      say "setup-envtest has none here ($(tail -n 1 "$out/.setup-envtest.log" | cut -c1-120))"
    fi
  fi
  for name in $(missing); do build "$name"; done
  say "ready in $out"
fi
printf '%s\n' "$out"
