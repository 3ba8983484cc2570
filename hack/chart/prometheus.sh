#!/usr/bin/env bash
# Writes config/prometheus/rules.yaml, or the file given: the alerts of the chart as a PrometheusRule.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
{
  cat <<'HEAD'
# By `make generate`, from charts/pat-operator/rules/pat-operator.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pat-operator
  namespace: pat-operator-system
  labels:
    app.kubernetes.io/name: pat-operator
    app.kubernetes.io/part-of: pat-operator
spec:
HEAD
  sed -n '/^groups:/,$p' charts/pat-operator/rules/pat-operator.yaml | sed 's/^/  /'
} >"${1:-config/prometheus/rules.yaml}"
