#!/usr/bin/env bash
# The tests again with array bounds checked, but for those of pages and docstrings, whose kernels the
# others run; and those that compare with torch or go there. Fresh caches.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== NUMBA_BOUNDSCHECK=1"
NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(mktemp -d) python -m pytest -q \
    --ignore tests/test_docs.py --ignore tests/test_docstrings.py
echo "== torch"
python -m pip install -q "$(grep -o 'torch==[0-9.]*' pyproject.toml)"
export NUMBA_CACHE_DIR=$(mktemp -d)
python -m pytest -q tests/test_torch.py tests/test_exchange.py
python -m pytest -q tests/test_docs.py -k exchange
python -m pytest -q tests/test_streaming.py -k tensors
