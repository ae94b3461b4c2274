#!/usr/bin/env bash
# Tests of kernels again without the compiler, as Python and NumPy run them.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== NUMBA_DISABLE_JIT=1"
# Overflow to infinity is legal in kernels; interpreted by NumPy it warns.
NUMBA_DISABLE_JIT=1 python -m pytest -q -W ignore::RuntimeWarning \
    tests/test_oracles.py tests/test_gradients.py tests/test_parity.py \
    tests/test_network.py tests/test_trainer.py tests/test_checks.py \
    tests/test_elementary.py tests/test_norms.py tests/test_indices.py \
    tests/test_packing.py tests/test_parallel.py tests/test_ensemble.py tests/test_growing.py \
    tests/test_embedding.py tests/test_single.py
