#!/usr/bin/env bash
# Checks what `make image` has written into dist, and that a copy of the checkout in another folder makes the same bytes.
# Set VERSION, REVISION, SOURCE_DATE_EPOCH and IMAGE_REPOSITORY as make image had them: `make image-check` does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export VERSION REVISION SOURCE_DATE_EPOCH IMAGE_REPOSITORY

go -C hack/image test -count=1 . -built="$PWD/dist" -version="$VERSION"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
  tar --null -T - -cf - | tar -xf - -C "$copy"
make -C "$copy" image
# sums FOLDER: the checksum of each file of the image.
sums() { (cd "$1/dist" && find image "pat-operator-$VERSION"-*.docker.tar -type f -exec sha256sum {} + | LC_ALL=C sort -k 2); }
diff <(sums .) <(sums "$copy") || { echo "image-check: a second build is not the same" >&2; exit 1; }
echo "image-check: two folders, the same $(sums . | wc -l) files"
