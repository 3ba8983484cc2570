#!/usr/bin/env bash
# Builds `kubectl pat` and installs it, and what completes its arguments, into BINDIR: where that is not set, into a folder
# that is in PATH, if one exists. If kubectl is missing, it installs the control plane's as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

in_path() { case ":$PATH:" in *":$1:"*) true ;; *) false ;; esac; }

# A folder of the user's own that is in PATH and may be written to, else /usr/local/bin.
writable() {
  local folder folders
  IFS=: read -ra folders <<<"$PATH"
  for folder in "${folders[@]}"; do
    if [ "${folder#"$HOME"/}" != "$folder" ] && [ -d "$folder" ] && [ -w "$folder" ]; then printf '%s' "$folder"; return; fi
  done
  if in_path /usr/local/bin && [ -w /usr/local/bin ]; then printf /usr/local/bin; fi
}

gobin=$(go env GOBIN)
gopath=$(go env GOPATH)
gobin=${gobin:-${gopath%%:*}/bin}
dir=${BINDIR:-}
if [ -z "$dir" ] && in_path "$gobin"; then dir=$gobin; fi
if [ -z "$dir" ]; then dir=$(writable); fi
dir=${dir:-$gobin}

mkdir -p "$dir"
VERSION=${VERSION:-$(hack/version.sh)} hack/build.sh "$dir/kubectl-pat" ./cmd/kubectl-pat
install -m 0755 cmd/kubectl-pat/kubectl_complete-pat "$dir/kubectl_complete-pat"
echo "installed kubectl-pat and kubectl_complete-pat into $dir"

if ! command -v kubectl >/dev/null && [ ! -x "$dir/kubectl" ]; then
  echo "kubectl is not in PATH: looking for the control plane's"
  install -m 0755 "$(hack/controlplane/assets.sh kubectl)/kubectl" "$dir/kubectl"
  echo "installed kubectl into $dir"
fi
found=$(command -v kubectl-pat || true)
if in_path "$dir" && [ "$found" != "$dir/kubectl-pat" ]; then
  echo "$found comes first in PATH and is another kubectl-pat: remove it" >&2
elif in_path "$dir"; then
  echo "try: kubectl pat --help"
else
  echo "$dir is not in PATH. Put it there: export PATH=\"$dir:\$PATH\"" >&2
fi
