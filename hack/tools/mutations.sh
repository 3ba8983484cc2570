#!/usr/bin/env bash
# Puts each fault of test/mutations back into a copy of this checkout and runs the test that its first lines name. A test that
# still passes proves nothing, so that is a failure. The first argument, where given, is part of the names of the patches to
# try; the second, such as 2/4, is a share of them: every fourth patch, from the second on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=${1:-} share=${2:-1/1}
[[ $share =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] || { echo "mutations: $share is not a share such as 2/4" >&2; exit 2; }
# The same folder for a checkout each time, so that builds are cached.
copy=${XDG_CACHE_HOME:-$HOME/.cache}/pat-operator/mutations/$(cksum <<<"$PWD" | cut -d ' ' -f 1)
rm -rf "$copy" && mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
  tar --null -T - -cf - | tar -xf - -C "$copy"

(cd "$copy" && for patch in test/mutations/*.patch; do
  git apply --check "$patch" || { echo "mutations: ${patch##*/} does not apply; the code has changed" >&2; exit 1; }
done)

tried=0 survived=0 nth=0
for patch in test/mutations/*"$name"*.patch; do
  [ -e "$patch" ] || { echo "mutations: no patch is called $name" >&2; exit 1; }
  (((nth++ % ${share#*/}) + 1 == ${share%/*})) || continue
  patch=$PWD/$patch label=$(basename "$patch" .patch)
  at=$SECONDS package=$(sed -n 's/^Package: //p' "$patch") test=$(sed -n 's/^Test: //p' "$patch")
  [ -n "$package" ] && [ -n "$test" ] || { echo "mutations: $label names no Package: and Test:" >&2; exit 1; }
  (
    cd "$copy"
    git apply "$patch" || exit 6
    go -C "$package" test -c -o "$copy/mutation.test" . || exit 4
    (cd "$package" && "$copy/mutation.test" -test.timeout 10m -test.run "$test") >"$copy/mutation.log" 2>&1 && exit 5
    grep -q -- '--- FAIL' "$copy/mutation.log" || { cat "$copy/mutation.log"; exit 6; }
  ) && status=0 || status=$?
  case $status in
    0) echo "found     $label ($test) after $((SECONDS - at)) s" ;;
    4) echo "mutations: $label does not compile" >&2; exit 1 ;;
    5) echo "SURVIVED  $label: $test passes with the fault in it"; survived=$((survived + 1)) ;;
    *) echo "mutations: $label: $test did not run to its end" >&2; exit 1 ;;
  esac
  (cd "$copy" && git apply -R "$patch")
  tried=$((tried + 1))
done
echo "mutations: $tried faults put back, $((tried - survived)) found"
[ $survived -eq 0 ]
