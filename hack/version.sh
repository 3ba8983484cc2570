#!/bin/sh
# Prints the version of this checkout, a semantic one in any case: Helm and krew take no other.
set -eu
cd "$(dirname "$0")/.."
git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null && exit
commit=$(git describe --always --exclude '*' --dirty 2>/dev/null) || commit=unknown
echo "v0.0.0-g$commit"
