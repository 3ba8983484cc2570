#!/usr/bin/env bash
# Installs what `make test-clients` runs from Debian's packages, where it may and where it is missing: nginx with njs, Caddy,
# HAProxy and Apache with an introspection module. What cannot be had it names on stderr; the tests of it are skipped.
set -euo pipefail
. "${BASH_SOURCE[0]%/*}/debian.sh"
export PATH=$PATH:/usr/sbin

packages=(nginx-light libnginx-mod-http-js caddy haproxy apache2 libapache2-mod-auth-openidc git curl)
files=(nginx caddy haproxy apache2 git curl /usr/lib/git-core/git-http-backend
  /usr/lib/nginx/modules/ngx_http_js_module.so /usr/lib/apache2/modules/mod_auth_openidc.so)

missing() {
  local file
  for file in "${files[@]}"; do
    command -v "$file" >/dev/null || [ -e "$file" ] || printf ' %s' "${file##*/}"
  done
}

have() { [ -z "$(missing)" ]; }

from_debian clients "these are missing, and their tests are skipped:$(missing); install the packages ${packages[*]}" "${packages[@]}"
