#!/usr/bin/env bash
# Pins every image of docker-compose.yml and the Dockerfiles to its digest: name:tag becomes name:tag@sha256:….
# Needs docker with buildx, and a way to the registries. Nothing is changed unless all digests are known.
# To go back, or before another version: git checkout docker-compose.yml docker
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
files=(docker-compose.yml docker/*/Dockerfile)
# Without our own images, which are built here, and without those that have a digest already.
mapfile -t images < <(grep --no-filename --only-matching --perl-regexp '(?<=^FROM |    image: )[^\s&*$@]+:[^\s$@]+(?=\s|$)' \
  "${files[@]}" | sort --unique)
edits=()
for image in "${images[@]}"; do
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$image: the registry gave no digest but '$digest'" >&2; exit 1; }
  echo "$image@$digest"
  edits+=(--expression "s|$image\$|$image@$digest|" --expression "s|$image AS |$image@$digest AS |")
done
[[ ${#edits[@]} -gt 0 ]] || { echo "no image is without a digest"; exit 0; }
sed --in-place "${edits[@]}" "${files[@]}"
