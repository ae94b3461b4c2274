#!/usr/bin/env bash
# Build the wheel, install it elsewhere, and use it from a temporary directory: kernels/ is mapped
# into the package, so an editable install hides what a wheel may lack.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m venv "$folder/venv"
# A copy, so that no build folder is left in the checkout.
mkdir "$folder/source"
cp -r fastbp kernels pyproject.toml README.md LICENSE "$folder/source"
"$folder/venv/bin/pip" wheel -q --no-deps -w "$folder/dist" "$folder/source"
"$folder/venv/bin/pip" install -q "$folder"/dist/*.whl
smoke=$PWD/ci/smoke.py
cd "$folder"
NUMBA_CACHE_DIR=$folder/cache "$folder/venv/bin/python" "$smoke"
NUMBA_CACHE_DIR=$folder/cache "$folder/venv/bin/fastbp" info
