# Sourced by the scripts that find a program, or install it from Debian's packages where they may. Such a script defines `have`,
# which succeeds where the program is there.

# from_debian NAME WITHOUT PACKAGE...: succeeds where `have` does, if need be after the packages were installed. Otherwise it says
# why on stderr, with WITHOUT: what is left out, and the way out. It does not fail then.
from_debian() {
  local name=$1 without=$2
  shift 2
  if have; then return; fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    printf '%s: %s\n' "$name" "$without" >&2
    return
  fi
  exec 9>"${TMPDIR:-/tmp}/.pat-$name.lock"
  if command -v flock >/dev/null; then flock 9; fi
  if have; then return; fi
  printf "%s: installing Debian's %s (once for this machine)\n" "$name" "$*" >&2
  local log why
  log=$(mktemp)
  if ! apt_install "$log" "$@" || ! have; then
    why=$(tail -n 1 "$log" | cut -c1-200)
    printf '%s: cannot be installed: %s; %s\n' "$name" "${why:-it is not in the packages}" "$without" >&2
  fi
  rm -f "$log"
}

# apt_install FILE PACKAGE...: what apt-get has to say goes to FILE. No package starts a service: the tests start programs themselves.
apt_install() {
  shift
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  local policy=/usr/sbin/policy-rc.d status=0 own=
  if [ ! -e "$policy" ]; then
    own=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  local get=(apt-get install -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$@")
  "${get[@]}" || { apt-get update -qq && "${get[@]}"; } || status=$?
  [ -z "$own" ] || rm -f "$policy"
  return $status
} >"$1" 2>&1 </dev/null
