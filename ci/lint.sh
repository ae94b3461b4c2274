#!/usr/bin/env bash
# Style and types. Run from anywhere; uses the python on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ruff check .
python -m ruff format --check .
# kernels/ is installed as fastbp.kernels: lay it out so, for mypy to find it.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp -r fastbp "$tree/fastbp"
cp -r kernels "$tree/fastbp/kernels"
config=$PWD/pyproject.toml
cd "$tree"
python -m mypy --config-file "$config"
