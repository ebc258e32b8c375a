#!/usr/bin/env bash
# Writes docker/requirements/: every package of the images with its version and hashes, for their Python 3.12 on x86-64.
# Versions stay as they are where they still fit pyproject.toml; --upgrade takes the newest.
# In three files: what builds source packages comes first, and torch with its CUDA apart, for a build without a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=docker/requirements
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat "$folder"/*.txt >"$work/all.txt"
# With the extra `agents`: a container can't be given packages later.
# Without the embedded tritonserver: the images have one of a newer release, or need none.
printf 'setuptools>=77\nwheel\n' | .venv/bin/uv pip compile pyproject.toml - --extra agents --generate-hashes --python-version 3.12 \
  --python-platform x86_64-manylinux_2_35 --no-emit-package nvidia-pytriton --no-annotate --no-header --quiet \
  --output-file "$work/all.txt" "$@"
awk -v folder="$work" '
  /^[a-z0-9]/ {
    part = "product"
    if ($1 ~ /^(setuptools|wheel)==/) part = "build"
    if ($1 ~ /^(torch|triton|nvidia-.*|cuda-.*)==/) part = "torch"
  }
  { print > (folder "/" part ".txt") }
' "$work/all.txt"
mv "$work/build.txt" "$work/product.txt" "$work/torch.txt" "$folder/"
