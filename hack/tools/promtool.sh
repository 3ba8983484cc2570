#!/usr/bin/env bash
# Prints the path of promtool, which tests the alerts: $PAT_PROMTOOL, one in PATH, or that of Debian's package prometheus, which
# it installs where it may. Where none can be had it prints nothing and says why on stderr.
set -euo pipefail
. "${BASH_SOURCE[0]%/*}/debian.sh"

have() { command -v "${PAT_PROMTOOL:-promtool}"; }

from_debian promtool "not found, so the alerts are not tested: install Prometheus, or set PAT_PROMTOOL to its promtool" prometheus
