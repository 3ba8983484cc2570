#!/usr/bin/env bash
# Prints the path of axe-core's script, which looks for what keeps people out of a page; it is fetched from the npm
# registry once for this machine. Without npm, or the registry, it prints nothing and says why on stderr.
set -euo pipefail
version=4.14.1
cache=${PAT_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pat-operator}
out=$cache/axe-core-$version

say() { printf 'axe: %s\n' "$*" >&2; }

if [ ! -f "$out/axe.min.js" ]; then
  command -v npm >/dev/null || { say "npm is missing: install it, and accessibility is checked, too"; exit 0; }
  mkdir -p "$out"
  work=$(mktemp -d "$out/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if ! (cd "$work" && npm pack --silent --fetch-retries=1 --fetch-timeout=30000 "axe-core@$version" && tar -xzf ./*.tgz package/axe.min.js) >"$work/log" 2>&1; then
    say "axe-core $version cannot be fetched: $(tail -n 1 "$work/log" | cut -c1-200)"
    exit 0
  fi
  # Moved into place whole, so that an interrupted run leaves none.
  mv "$work/package/axe.min.js" "$out/axe.min.js"
fi
printf '%s\n' "$out/axe.min.js"
