#!/usr/bin/env bash
# Creates a kind cluster if it does not exist, installs pat-operator on it, and ends with a smoke test. To remove all of it:
# kind delete cluster --name pat
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=${CLUSTER:-pat}
node=$name-control-plane
image=pat-operator:kind
files=/etc/kubernetes/pki/pat-operator # kubeadm mounts the folder above into kube-apiserver
manifest=/etc/kubernetes/manifests/kube-apiserver.yaml
smoke=${SMOKE_TEST:-hack/smoke-test.sh}

for program in docker kind kubectl make; do
  command -v "$program" >/dev/null || { echo "$program is missing: install it" >&2; exit 1; }
done
step() { printf '\n=== %s\n' "$*"; }

step "1/6 the cluster $name"
kind get clusters | grep -qx "$name" || kind create cluster --name "$name"
kubectl config use-context "kind-$name"

step "2/6 the image (the first build takes some minutes)"
make docker-build IMG="$image"
kind load docker-image "$image" --name "$name"

step "3/6 the manifests"
kubectl apply -k hack/kind
kubectl -n pat-operator-system wait deployment/pat-operator deployment/pat-operator-verifier \
  --for=condition=Available --timeout=3m

step "4/6 the two files that kube-apiserver reads"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
published=(kubectl -n pat-operator-system get configmap pat-operator-authn)
kubectl -n pat-operator-system wait configmap/pat-operator-authn --for=jsonpath='{.data.kubeconfig}' --timeout=1m
"${published[@]}" -o jsonpath='{.data.ca\.crt}' >"$temporary/pat-operator-ca.crt"
"${published[@]}" -o jsonpath='{.data.kubeconfig}' >"$temporary/pat-operator-authn.kubeconfig"
docker exec "$node" mkdir -p "$files"
docker cp "$temporary/pat-operator-ca.crt" "$node:$files/"
docker cp "$temporary/pat-operator-authn.kubeconfig" "$node:$files/"

step "5/6 the two flags of kube-apiserver"
docker exec "$node" cat "$manifest" >"$temporary/before"
if ! grep -q authentication-token-webhook-config-file "$temporary/before"; then
  awk -v files="$files" '{ print } /^ +- kube-apiserver$/ {
    sub("kube-apiserver", "")
    print $0 "--authentication-token-webhook-config-file=" files "/pat-operator-authn.kubeconfig"
    print $0 "--authentication-token-webhook-cache-ttl=10s"
  }' "$temporary/before" >"$temporary/after"
  grep -q authentication-token-webhook-config-file "$temporary/after" || { echo "$manifest has no command" >&2; exit 1; }
  # Written outside the folder that kubelet watches, then moved into it in one step.
  docker exec -i "$node" cp /dev/stdin /etc/kubernetes/kube-apiserver.yaml <"$temporary/after"
  docker exec "$node" mv /etc/kubernetes/kube-apiserver.yaml "$manifest"
fi
# kubelet starts kube-apiserver again; the pattern does not match the command that looks for it.
for _ in $(seq 90); do
  if docker exec "$node" sh -c 'grep -aqs authentication-token-webhoo[k] /proc/[0-9]*/cmdline'; then break; fi
  sleep 2
done

echo "For tokens with scopes, paste on the node what this prints: kubectl pat setup --scopes"

step "6/6 the smoke test"
"$smoke"
