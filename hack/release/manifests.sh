#!/usr/bin/env bash
# Writes dist/install.yaml, rendered from the chart in dist, and dist/crds.yaml. In install.yaml, what judges a
# PersonalAccessToken comes before its CRD, so an installation that stops halfway refuses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -eq 1 ] || { echo "usage: ${0##*/} VERSION" >&2; exit 2; }

{
  printf '# pat-operator %s. To apply it: kubectl apply -f install.yaml\n' "$1"
  # The namespace of the release, which Helm would create.
  sed '/^---$/,$d' config/namespaces/namespaces.yaml
  go -C test/chart run ./render --plain --chart "$PWD/dist/pat-operator-${1#v}.tgz"
} >dist/install.yaml
cat config/crd/bases/*.yaml >dist/crds.yaml
