#!/usr/bin/env bash
# Prints the path of promtool, which tests the alerts: $PAT_PROMTOOL, one in PATH, or that of Debian's package prometheus, which
# it installs where it may. Where none can be had it prints nothing and says why on stderr.
set -euo pipefail

say() { printf 'promtool: %s\n' "$*" >&2; }

find_one() { command -v "${PAT_PROMTOOL:-promtool}"; }

# install FILE: what apt-get has to say goes to FILE. Only the tool is wanted: the server is not started.
install() {
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  local get=(apt-get install -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends prometheus)
  "${get[@]}" || { apt-get update -qq && "${get[@]}"; }
} >"$1" 2>&1 </dev/null

if find_one; then exit; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  say "not found, so the alerts are not tested: install Prometheus, or set PAT_PROMTOOL to its promtool"
  exit 0
fi
exec 9>"${TMPDIR:-/tmp}/.pat-promtool.lock"
if command -v flock >/dev/null; then flock 9; fi
if find_one; then exit; fi
say "installing Debian's prometheus (once for this machine)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if install "$log" && find_one; then exit; fi
say "cannot be installed: $(tail -n 1 "$log" | cut -c1-200)"
