#!/usr/bin/env bash
# Installs what `make test-clients` runs from Debian's packages, where it may and where it is missing: nginx with njs, Caddy,
# HAProxy and Apache with an introspection module. What cannot be had it names on stderr; the tests of it are skipped.
set -euo pipefail
export PATH=$PATH:/usr/sbin

say() { printf 'clients: %s\n' "$*" >&2; }

packages=(nginx-light libnginx-mod-http-js caddy haproxy apache2 libapache2-mod-auth-openidc git curl)
files=(nginx caddy haproxy apache2 git curl /usr/lib/git-core/git-http-backend
  /usr/lib/nginx/modules/ngx_http_js_module.so /usr/lib/apache2/modules/mod_auth_openidc.so)

missing() {
  local file
  for file in "${files[@]}"; do
    command -v "$file" >/dev/null || [ -e "$file" ] || printf ' %s' "${file##*/}"
  done
}

# install FILE: what apt-get has to say goes to FILE. The packages start no service: the tests start the programs themselves.
install() {
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  local policy=/usr/sbin/policy-rc.d status=0 own=
  if [ ! -e "$policy" ]; then
    own=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  local get=(apt-get install -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends "${packages[@]}")
  "${get[@]}" || { apt-get update -qq && "${get[@]}"; } || status=$?
  [ -z "$own" ] || rm -f "$policy"
  return $status
} >"$1" 2>&1 </dev/null

[ -n "$(missing)" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  say "these are missing, and their tests are skipped:$(missing); install the packages ${packages[*]}"
  exit 0
fi
exec 9>"${TMPDIR:-/tmp}/.pat-clients.lock"
if command -v flock >/dev/null; then flock 9; fi
[ -n "$(missing)" ] || exit 0
say "installing from Debian's packages (once for this machine):$(missing)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if install "$log" && [ -z "$(missing)" ]; then exit 0; fi
say "cannot be installed:$(missing): $(tail -n 1 "$log" | cut -c1-200)"
