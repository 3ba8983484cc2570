#!/usr/bin/env bash
# Prints the path of a Chromium for the tests of the console: $PAT_CHROMIUM, one in PATH, or Debian's package, which it
# installs where it may. Where none can be had it prints nothing and says why on stderr.
set -euo pipefail
. "${BASH_SOURCE[0]%/*}/debian.sh"

have() {
  local name
  for name in ${PAT_CHROMIUM:+"$PAT_CHROMIUM"} chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name"; then return; fi
  done
  return 1
}

packages=(chromium)
# Without any font a page has no text to look at.
[ -n "$(find /usr/share/fonts -type f -print -quit 2>/dev/null)" ] || packages+=(fonts-dejavu-core)
from_debian chromium "no browser found: install chromium, or set PAT_CHROMIUM to a browser of its kind" "${packages[@]}"
