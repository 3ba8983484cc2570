#!/usr/bin/env bash
# Prints the path of a Chromium for the tests of the console: $PAT_CHROMIUM, one in PATH, or Debian's package, which it
# installs where it may. Where none can be had it prints nothing and says why on stderr.
set -euo pipefail

say() { printf 'chromium: %s\n' "$*" >&2; }

find_one() {
  local name
  for name in ${PAT_CHROMIUM:+"$PAT_CHROMIUM"} chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name"; then return; fi
  done
  return 1
}

# install FILE: what apt-get has to say goes to FILE.
install() {
  export DEBIAN_FRONTEND=noninteractive
  local packages=(chromium)
  # Without any font a page has no text to look at.
  [ -n "$(find /usr/share/fonts -type f -print -quit 2>/dev/null)" ] || packages+=(fonts-dejavu-core)
  local get=(apt-get install -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends "${packages[@]}")
  "${get[@]}" || { apt-get update -qq && "${get[@]}"; }
} >"$1" 2>&1 </dev/null

if find_one; then exit; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  say "no browser found: install chromium, or set PAT_CHROMIUM to a browser of its kind"
  exit 0
fi
exec 9>"${TMPDIR:-/tmp}/.pat-chromium.lock"
if command -v flock >/dev/null; then flock 9; fi
if find_one; then exit; fi
say "installing Debian's chromium (once for this machine)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if install "$log" && find_one; then exit; fi
say "cannot be installed: $(tail -n 1 "$log" | cut -c1-200)"
