"""fastbp's functions for single samples as a shared library for C, with a header."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import checks, kernels

_LIBRARY, _HEADER = "libfastbp.so", "fastbp.h"
_DTYPES = tuple(map(np.dtype, ("float32", "float64")))
# Those of the table of pointers, which is for compiled Python, cannot occur here.
_STATUSES = {
    name: value for name, value in kernels.STATUSES.items() if name not in ("UNLOADED", "OUTDATED")
}
# What each function does.
_FUNCTIONS = {
    "predict_one": "Write the outputs for x to out: probabilities, for a classifier.",
    "learn_one": (
        "Take the optimizer's step for one sample; *loss, which must exist, gets its loss before "
        "that. Pass a class "
        "number as label, with y = NULL and n_y = 0; or targets as y, and any label."
    ),
    "vjp": (
        "Derivatives of cotangent . outputs(x). Those by the parameters are added to gradient, "
        "those by x written to gradient_x; either may be NULL, with a length of 0."
    ),
    "apply": "Take the optimizer's step with a gradient.",
    "set_learning_rate": "Set the learning rate of the steps to come.",
}
_ABOUT = (
    "A network, its optimizer and the scratch of a sample are one array, the state, which "
    "fastbp.jit.state makes in Python. A copy of it is another one, at any address. Functions "
    "check lengths and labels, and return a status; unless that is FASTBP_DONE, nothing has been "
    "done. A state is trusted to be as it was made: one from a damaged file may crash. Functions "
    "allocate nothing and keep nothing. All of them write to the scratch in the state, so each "
    "thread needs a state of its own."
)


def c_library(folder: str | os.PathLike[str] | None = None, *, level: str | None = None) -> Path:
    """Path of a shared library with fastbp's functions for single samples, beside ``fastbp.h``.

    They are the kernels of `fastbp.jit`, of the same bits, and need neither Python nor Numba.
    States are made in Python: ``fastbp.jit.state(network).tofile("network.bin")``.

    Parameters
    ----------
    folder : path, optional
        Where to write both files, unless they are there; by default in the cache of compiled code.
    level : str, optional
        A level of processors to compile for, such as ``"x86-64-v3"``, for a library that runs on
        other machines too; by default, this machine's processor.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    RuntimeError
        If there is no C compiler to link with, or if it fails: ``cc``, or what the environment
        variable CC names. Or if NUMBA_DISABLE_JIT or NUMBA_BOUNDSCHECK is set.
    ValueError
        If ``level`` is not known, or if there is no cache and ``folder`` is not given.

    Notes
    -----
    The first call compiles the functions of both dtypes.
    """
    if level is not None:
        checks.choice("level", level, kernels.levels())
    target = Path(folder) if folder is not None else _default_folder(level)
    library, header, text = target / _LIBRARY, target / _HEADER, _header(level)
    if library.is_file() and header.is_file() and header.read_text(encoding="ascii") == text:
        return library
    linker = _linker()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as name:
        work = Path(name)
        _link(linker, work, level)
        (work / _HEADER).write_text(text, encoding="ascii")
        # The header, which says that the library is right, comes last.
        header.unlink(missing_ok=True)
        os.replace(work / _LIBRARY, library)
        os.replace(work / _HEADER, header)
    return library


def _default_folder(level: str | None) -> Path:
    """A folder for this version and processor beside the compiled code."""
    cache = kernels.cache_directory(kernels.infer)
    if cache is None:
        raise ValueError("folder must be given, as there is no cache of compiled code.")
    # A processor's name does not tell which of its features the system allows.
    features = zlib.crc32(kernels.host_features().encode()) if level is None else 0
    return Path(cache) / f"c-{kernels.digest()}-{_processor(level)}-{features:x}"


def _processor(level: str | None) -> str:
    return level or kernels.host_cpu()


def _linker() -> list[str]:
    """The C compiler as a command."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        raise RuntimeError(
            f"c_library needs a C compiler, which links it: install one, or name it in the "
            f"environment variable CC; {command[0]} was not found."
        )
    return command


def _link(linker: list[str], work: Path, level: str | None) -> None:
    """Compile all functions, and link them to a library in the folder ``work``."""
    names: list[str] = []
    for dtype in _DTYPES:
        for name, code in kernels.objects(dtype, level).items():
            (work / f"{name}.o").write_bytes(code)
            names.append(name)
    if sys.platform == "darwin":
        exports = [f"-Wl,-exported_symbol,_{name}" for name in names]
    else:
        script = work / "exports"
        script.write_text(f"{{ global: {' '.join(f'{name};' for name in names)} local: *; }};\n")
        exports = [f"-Wl,--version-script={script}", "-Wl,-z,defs"]
    objects = [str(work / f"{name}.o") for name in names]
    done = subprocess.run(
        [*linker, "-shared", "-o", str(work / _LIBRARY), *objects, *exports, "-lm"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(
            f"{shlex.join(linker)} could not link the library: {done.stderr.strip()}"
        )


def _header(level: str | None) -> str:
    """Text of ``fastbp.h``, which names the version and the processor of its library."""
    statuses = ",\n".join(f"    FASTBP_{name} = {value}" for name, value in _STATUSES.items())
    cases = "\n".join(
        f'    case FASTBP_{name}: return "{kernels.MEANINGS.get(name, "done")}";'
        for name in _STATUSES
    )
    declared = "\n\n".join(
        _comment(what) + "\n" + "\n".join(_prototype(name, dtype) for dtype in _DTYPES)
        for name, what in _FUNCTIONS.items()
    )
    return f"""\
/* fastbp.h, of fastbp's kernels {kernels.digest()} for {_processor(level)}: link with {_LIBRARY}.

{textwrap.fill(_ABOUT, 100, initial_indent="   ", subsequent_indent="   ")} */

#ifndef FASTBP_H
#define FASTBP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

enum {{
{statuses}
}};

{declared}

/* What a status means. */
static inline const char *fastbp_message(int64_t status)
{{
    switch (status) {{
{cases}
    default: return "unknown status";
    }}
}}

#ifdef __cplusplus
}}
#endif

#endif
"""


def _comment(text: str) -> str:
    return textwrap.fill(f"/* {text} */", 100, subsequent_indent="   ")


def _prototype(name: str, dtype: np.dtype[Any]) -> str:
    """Declaration of a function for a dtype."""
    real = {"float32": "float", "float64": "double"}[dtype.name]
    kinds = {
        "R": f"{real} *",
        "r": f"const {real} *",
        "D": "double *",
        "i": "int64_t ",
        "d": "double ",
    }
    parameters = [
        (kinds[kind] + parameter).replace(" ", "~")  # lines are not broken within
        for parameter, kind in kernels.arguments_of(name).items()
    ]
    text = f"int64_t {kernels.symbol(name, dtype)}({', '.join(parameters)});"
    return textwrap.fill(text, 100, subsequent_indent="    ").replace("~", " ")
