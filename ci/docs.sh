#!/usr/bin/env bash
# Build the site in an environment of its own, with warnings as errors, and check its links.
# Usage: ci/docs.sh [FOLDER], by default build/site.
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "$0")/../build/site}")
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q -e '.[docs]'
# Programs of the gallery have no compiler to wait for, and say nothing of it.
"$folder/venv/bin/fastbp" warmup 2> /dev/null
# A copy, because the gallery's pages are written beside the others.
cp -r docs examples CHANGELOG.md "$folder"
"$folder/venv/bin/python" -m sphinx -W --keep-going -n -q -b html -d "$folder/doctrees" \
    "$folder/docs" "$out"
"$folder/venv/bin/python" ci/links.py "$out"
echo "the site is in $out"
