#!/usr/bin/env bash
# Runs the tests that depend on the version of Kubernetes, and the demo, on control planes of the versions that are given, such as
# 1.33: their kube-apiserver, kube-controller-manager and kubectl. With RUN set, the tests that match it, without the demo.
# A test that does not run, or skips itself, is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || { echo "usage: ${0##*/} VERSION...   for example: ${0##*/} 1.33" >&2; exit 2; }

tests=(
  # Installation: config/default and every rendering of the chart, applied by the server and by kubectl of that version.
  TestConfigAppliesAgainAndColumns TestAPIServerTakesEveryRendering
  # Policies: their types, what they refuse, and the largest input that their budget has to last for.
  TestPoliciesHaveNoTypeCheckingWarning TestCase03_WebhookConfigurationsDeleted TestCase51_UpdatesByPolicyAlone
  TestCase58_ManyGroups TestCase58_OnePastTheBounds TestCase45_EachFieldOfStatusAsEachAccount
  TestPoliciesGuardRecordsAndDelivery TestNeitherAccountGetsAtTheOther TestCase51_TheInstalledGuardsAreAccepted
  # Tokens, from issuing to the end; scopes, by the AuthorizationConfiguration of that version.
  TestATokenActsAsItsUser TestRotation TestCase15_DeletedIsRefusedWithinTheBound TestCase17_RevokedAndKeptStaysRevoked
  TestCase29_AReadOnlyTokenOfAClusterAdministrator TestCase29_ScopesAreNarrowedAtOnceAndWidenedByRight
  # kubectl of that version through the proxy: what it does, and what it says when its token ends.
  TestKubectlWorksAsTheTokensUser TestScopesAndNetworksOfATokenHold TestGroupsThatAreNotListedAreDropped
  TestCase68_AWatchOfARealAPIServerIsCut TestTheWebhookAndTheProxyAgree
  # Rights of the two service accounts.
  TestRBACIsWhatTheGoldenFileSays
)
demo=yes
if [ -n "${RUN:-}" ]; then
  run=$RUN demo='' tests=()
else
  run="^($(IFS='|'; printf %s "${tests[*]}"))$"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# check VERSION: run the tests on it.
check() {
  local version=$1 at=$SECONDS assets is name status=0
  assets=$(KUBERNETES=$version hack/controlplane/assets.sh) && is=$("$assets/kube-apiserver" --version) || return
  printf '\n=== %s\n' "$is"
  [[ $is == "Kubernetes v$version."* ]] || { echo "test-versions: $assets has another version" >&2; return 1; }
  export KUBEBUILDER_ASSETS=$assets KUBEBUILDER_CONTROLPLANE_START_TIMEOUT=2m
  RUN=$run hack/tools/test.sh | tee "$log" || status=$?
  for name in "${tests[@]}"; do
    grep -q "^--- PASS: $name " "$log" || { echo "test-versions: $name did not pass on $version" >&2; status=1; }
  done
  if grep -q '^ *--- SKIP' "$log"; then
    echo "test-versions: a test skipped itself on $version: $(grep '^ *--- SKIP' "$log" | head -n 3)" >&2
    status=1
  fi
  if [ $status -eq 0 ] && [ -n "$demo" ]; then
    go build -o bin/dev ./hack/dev && bin/dev demo || status=$?
  fi
  printf -- '--- Kubernetes %s: %s after %d s\n' "$version" "$([ $status -eq 0 ] && echo passed || echo FAILED)" $((SECONDS - at))
  return $status
}

status=0
for version in "$@"; do
  check "$version" || status=$?
done
exit $status
