"""The inner loops are SIMD code: the assembly that is made for x86 processors shows it."""

import os
import platform
import subprocess
import sys

import pytest

ASSEMBLY = """
import re, sys
import numba
from numba import float32, float64, int32, int64, types
from fastbp.kernels import linear, views
from fastbp.kernels._jit import jit

register = sys.argv[1]
for T, packed in ((float32, "ps"), (float64, "pd")):
    array, n = T[::1], int64
    matrix = types.NamedTuple((array, n, n, n), views.Matrix)
    entries = types.NamedTuple((int32[::1], array, n), linear.Entries)
    term = types.NamedTuple((array, T, T), linear.Term)
    functions = {
        "_add_rows": (matrix, entries, array, n, n),
        "_add_dots_called": (matrix, int32[::1], n, n, array, array),
        "_rank_one": (matrix, entries, term),
        "multiply_add": (matrix, matrix, matrix, matrix, n, n, n, T),
    }
    for name, arguments in functions.items():
        function = getattr(linear, name)
        caller = jit(lambda *given: function(*given), entry=True)
        caller.compile((types.StarArgTuple(arguments),))
        assembly = caller.inspect_asm(caller.signatures[-1])
        fused = rf"vfmadd\\w+{packed}\\s.*{register}"
        assert re.search(fused, assembly), f"{name}, {T}: no {register}"
        # No straight piece of code of a product has more multiply-adds than a tile has sums.
        pieces = re.split(r"^\\.\\w+:", assembly, flags=re.MULTILINE)
        most = max(len(re.findall("vfmadd", piece)) for piece in pieces)
        assert name != "multiply_add" or most <= 24, T
"""


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="not an x86 processor"
)
@pytest.mark.parametrize(
    ("processor", "features", "register"),
    [
        ("haswell", "+avx2,+fma", "ymm"),
        ("skylake-avx512", "+avx2,+fma,+avx512f,+avx512dq,+avx512bw,+avx512vl", "zmm"),
        ("znver4", "+avx2,+fma,+avx512f,+avx512dq,+avx512bw,+avx512vl", "zmm"),
    ],
    ids=["haswell", "skylake-avx512", "znver4"],
)
def test_inner_loops_are_vectorised(processor, features, register):
    """They are compiled, not run: this machine need not have these instructions."""
    variables = os.environ | {"FASTBP_NO_CACHE": "1", "NUMBA_CPU_NAME": processor}
    variables["NUMBA_CPU_FEATURES"] = features
    variables.pop("NUMBA_DISABLE_JIT", None)
    variables.pop("NUMBA_BOUNDSCHECK", None)
    subprocess.run([sys.executable, "-c", ASSEMBLY, register], check=True, env=variables)
