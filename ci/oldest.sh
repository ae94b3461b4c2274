#!/usr/bin/env bash
# With the oldest numba and scikit-learn that pyproject.toml allows, trainings end with the same bits
# as with the python on PATH, and the tests pass that are about what is private in both.
set -euo pipefail
cd "$(dirname "$0")/.."
oldest() { grep -o "\"$1>=[0-9.]*\"" pyproject.toml | sed 's/>=/==/; s/"$/.*/; s/^"//'; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m venv "$folder/venv"
echo "== $(oldest numba) $(oldest scikit-learn)"
"$folder/venv/bin/pip" install -q "$(oldest numba)" "$(oldest scikit-learn)" "$(oldest pytest)" \
    hypothesis mpmath -e .
NUMBA_CACHE_DIR=$folder/newest python ci/digests.py > "$folder/newest.txt"
export NUMBA_CACHE_DIR=$folder/oldest
"$folder/venv/bin/python" ci/digests.py > "$folder/oldest.txt"
diff "$folder/oldest.txt" "$folder/newest.txt"
"$folder/venv/bin/python" -m pytest -q tests/test_versions.py tests/test_vectors.py \
    tests/test_interrupts.py tests/test_sklearn_own.py tests/test_shipped.py
