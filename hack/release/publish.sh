#!/usr/bin/env bash
# Pushes the image and the chart, signs them and each file of dist, and drafts a release with these files: `make publish`. The
# release workflow calls it, with docker logged in at the registry, and with cosign and gh in PATH. Set VERSION,
# IMAGE_REPOSITORY with the registry's name, CHART_REPOSITORY (a folder of a registry), and HELM (the program).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${VERSION:?}" "${IMAGE_REPOSITORY:?}" "${CHART_REPOSITORY:?set it to a folder of a registry, for charts}" "${HELM:?}"
case $IMAGE_REPOSITORY in */*/*) ;; *) echo "publish: set IMAGE_REPOSITORY, with the name of a registry" >&2; exit 1 ;; esac

# What is signed is what was checked: nothing is built here.
(cd dist && sha256sum --check --strict --quiet checksums.txt)

image=$(go -C hack/image run . --push --layout "$PWD/dist/image" --repository "$IMAGE_REPOSITORY" --version "$VERSION")
grep -qF "image: $image" dist/install.yaml || { echo "publish: the registry has $image, and install.yaml another" >&2; exit 1; }
cosign sign --yes "$image"

digest=$("$HELM" push "dist/pat-operator-${VERSION#v}.tgz" "oci://$CHART_REPOSITORY" 2>&1 | tee /dev/stderr | sed -n 's/^Digest: //p')
[ -n "$digest" ] || { echo "publish: helm printed no digest of the chart" >&2; exit 1; }
cosign sign --yes "$CHART_REPOSITORY/pat-operator@$digest"

files=()
for file in dist/*; do
  if [ ! -f "$file" ]; then continue; fi
  cosign sign-blob --yes --bundle "$file.sigstore.json" "$file"
  files+=("$file" "$file.sigstore.json")
done
# A person looks at the draft and publishes it.
gh release create "$VERSION" --verify-tag --draft --title "$VERSION" --notes "See CHANGELOG.md." "${files[@]}"
