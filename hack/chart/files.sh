#!/usr/bin/env bash
# Copies the manifests that the chart does not template itself from config into charts/pat-operator/files, or the folder given,
# with a placeholder where they name one of the two namespaces. pat-operator-records is also the name of a policy, so a line is
# changed by its form, and a line of another form fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-charts/pat-operator/files}

rm -rf "$out"
while IFS= read -r file; do
  case $file in
  crd/bases/*) copy=$out/crd/${file##*/} ;;
  *) copy=$out/$file ;;
  esac
  mkdir -p "${copy%/*}"
  # Quoted where it is a whole value: a namespace may be named 123 or true.
  sed -E '
    s/^( *(- )?(namespace|kubernetes\.io\/metadata\.name): )pat-operator-system$/\1"${OPERATOR_NAMESPACE}"/
    s/^( *(- )?(namespace|kubernetes\.io\/metadata\.name): )pat-operator-records$/\1"${RECORDS_NAMESPACE}"/
    s/\[pat-operator-system, pat-operator-records\]/["${OPERATOR_NAMESPACE}", "${RECORDS_NAMESPACE}"]/
    s/system:serviceaccount:pat-operator-system:/system:serviceaccount:${OPERATOR_NAMESPACE}:/g
    s/In pat-operator-system,/In ${OPERATOR_NAMESPACE},/
    s/in the namespace pat-operator-records/in the namespace ${RECORDS_NAMESPACE}/
  ' "config/$file" >"$copy"
  if grep -nE 'pat-operator-(system|records)' "$copy" | grep -vE '^[0-9]+: +((name|policyName): |- )pat-operator-records$' >&2; then
    echo "chart: config/$file names a namespace in a line of a form that hack/chart/files.sh does not know: add it there" >&2
    exit 1
  fi
done < <(cd config && find crd policy rbac webhook -name '*.yaml' ! -name kustomization.yaml | LC_ALL=C sort)
