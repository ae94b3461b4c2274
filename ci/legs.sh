#!/usr/bin/env bash
# The tests again with array bounds checked, a subset of them interpreted, and those that compare
# with torch or go there; fresh caches.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== NUMBA_BOUNDSCHECK=1"
NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(mktemp -d) python -m pytest -q
echo "== NUMBA_DISABLE_JIT=1"
# Overflow to infinity is legal in kernels; interpreted by NumPy it warns.
NUMBA_DISABLE_JIT=1 python -m pytest -q -W ignore::RuntimeWarning \
    tests/test_oracles.py tests/test_gradients.py tests/test_parity.py \
    tests/test_network.py tests/test_trainer.py tests/test_checks.py \
    tests/test_elementary.py tests/test_norms.py tests/test_indices.py \
    tests/test_packing.py tests/test_parallel.py tests/test_ensemble.py tests/test_growing.py \
    tests/test_embedding.py tests/test_single.py
echo "== torch"
python -m pip install -q "$(grep -o 'torch==[0-9.]*' pyproject.toml)"
export NUMBA_CACHE_DIR=$(mktemp -d)
python -m pytest -q tests/test_torch.py tests/test_exchange.py
python -m pytest -q tests/test_docs.py -k exchange
