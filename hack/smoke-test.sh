#!/usr/bin/env bash
# Makes a token, uses it and revokes it, as an administrator of the cluster that kubectl talks to. It works in a namespace of
# its own, which it deletes again. Exit code 0: kube-apiserver takes tokens of pat-operator, and refuses revoked ones.
set -euo pipefail

ns=pat-smoke-test
user=pat-smoke-test
dir=$(mktemp -d)
clean() {
  kubectl delete namespace "$ns" --ignore-not-found --wait=false >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap clean EXIT

# until_ok SECONDS WHAT COMMAND… tries the command until it succeeds.
until_ok() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >"$dir/out" 2>&1; do
    if [ $SECONDS -ge $end ]; then
      printf 'FAILED: %s. The last answer:\n%s\nSee docs/troubleshooting.md.\n' "$what" "$(cat "$dir/out")" >&2
      exit 1
    fi
    sleep 1
  done
  echo "ok: $what"
}
# The token is read from a file, so that it is in no list of processes.
as_token() { kubectl --kubeconfig "$dir/kubeconfig" auth whoami -o jsonpath='{.status.userInfo.username}'; }
is_user() { [ "$(as_token)" = "$user" ]; }
take() {
  secret=$(kubectl --as "$user" -n "$ns" get pat smoke-test -o jsonpath='{.status.deliverySecretName}') &&
    (umask 077; kubectl --as "$user" -n "$ns" get secret "$secret" -o jsonpath='{.data.token}' | base64 -d >"$dir/token") &&
    [ -s "$dir/token" ]
}
is_refused() { ! as_token 2>"$dir/refusal" && grep -q Unauthorized "$dir/refusal"; }

# kube-apiserver may be restarting.
until_ok 180 "the API server answers" kubectl get --raw /readyz
# Nothing is made in a namespace that an earlier run has left and that is not gone yet.
until_ok 60 "no namespace of an earlier run" kubectl wait --for=delete "namespace/$ns" --timeout=5s
cat >"$dir/team.yaml" <<YAML
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: $ns}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: tokens, namespace: $ns}
  rules:
  - {apiGroups: [pat-operator.io], resources: [personalaccesstokens], verbs: [get, list, watch, create, delete]}
  - {apiGroups: [""], resources: [secrets], verbs: [get]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: tokens, namespace: $ns}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tokens}
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: $user}]
YAML
until_ok 60 "a namespace with a role" kubectl apply -f "$dir/team.yaml"
cat >"$dir/token.yaml" <<YAML
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: smoke-test, namespace: $ns}
spec: {displayName: Smoke test, expiresInDays: 1}
YAML
until_ok 60 "a token is requested" kubectl --as "$user" apply -f "$dir/token.yaml"
until_ok 60 "the operator issues it" kubectl -n "$ns" wait pat/smoke-test --for=condition=Active --timeout=5s
until_ok 60 "its user takes it from the Secret" take

kubectl config view --raw --minify --flatten >"$dir/kubeconfig"
kubectl --kubeconfig "$dir/kubeconfig" config unset users >/dev/null # a client certificate would be used before a token
kubectl --kubeconfig "$dir/kubeconfig" config set users.token.tokenFile "$dir/token" >/dev/null
kubectl --kubeconfig "$dir/kubeconfig" config set-context --current --user=token >/dev/null

until_ok 180 "kube-apiserver takes it" is_user
until_ok 60 "it is deleted" kubectl --as "$user" -n "$ns" delete pat smoke-test --ignore-not-found
until_ok 30 "kube-apiserver refuses it after its deletion" is_refused
echo "pat-operator works."
