#!/usr/bin/env bash
# The README's own commands, each in a fresh virtual environment with an empty cache.
# Usage: ci/readme.sh [FOLDER], which then holds the environment that ran the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-$(mktemp -d)}
mapfile -t commands < <(grep -E "^pip install -e '\.\[(cli|sklearn|test)\]' && " README.md)
[ "${#commands[@]}" -eq 2 ] || { echo "README.md: expected two commands, found ${#commands[@]}"; exit 1; }
for command in "${commands[@]}"; do
    echo "== $command"
    rm -rf "$folder"
    python -m venv "$folder"
    (
        # shellcheck disable=SC1091
        source "$folder/bin/activate"
        NUMBA_CACHE_DIR=$(mktemp -d) bash -c "$command"
    )
done
