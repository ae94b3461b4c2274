"""The C functions of `table` as object files, which need neither Python nor Numba to run."""

import re

import llvmlite.binding as llvm
import numpy as np
from numba import config

from . import _numba, table

_SUFFIXES = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_KINDS = {"R": "ptr", "r": "ptr", "D": "ptr", "i": "i64", "d": "double"}
# What a C function returns if the compiled body reports an error of its own, which none should.
_FAILED = -1


def host_cpu() -> str:
    """LLVM's name of this processor."""
    return str(llvm.get_host_cpu_name())


def host_features() -> str:
    """LLVM's list of what this processor can do, as far as the system allows it."""
    return str(llvm.get_host_cpu_features().flatten())


def symbol(name: str, dtype: np.dtype) -> str:
    """Name of a function in C."""
    return f"fastbp_{name}_{_SUFFIXES[dtype]}"


def objects(dtype: np.dtype, cpu: str | None = None) -> dict[str, bytes]:
    """Object files of all functions of a dtype, by their names in C; they are compiled anew.

    Parameters
    ----------
    dtype : numpy.dtype
    cpu : str, optional
        LLVM's name of the processor that they are for, such as x86-64-v3; by default, this one.

    Raises
    ------
    RuntimeError
        If this numba does not show the code of a C function.
    """
    for name in ("DISABLE_JIT", "BOUNDSCHECK"):  # nothing is compiled, or errors are Python's
        if getattr(config, name):
            raise RuntimeError(f"code for C cannot be made while NUMBA_{name} is set: unset it.")
    target = llvm.Target.from_triple(llvm.get_process_triple())
    features = "" if cpu else host_features()
    machine = target.create_target_machine(
        cpu=cpu or host_cpu(), features=features, opt=3, reloc="pic"
    )
    functions, made = table.c_functions(dtype, caches=False), {}
    table.compile_all(functions, dtype, lambda: None)
    for name, function in functions.items():
        text, inner = _numba.llvm_code(function)
        module = llvm.parse_assembly(_renamed(text, inner, name, dtype))
        module.verify()
        made[symbol(name, dtype)] = machine.emit_object(module)
    return made


def _renamed(text: str, inner: str, name: str, dtype: np.dtype) -> str:
    """LLVM code in which a function with a C name takes the place of numba's wrapper.

    That one holds calls of Python for errors, and so would need Python.
    """
    wrapper = re.compile(
        rf'^define [^\n]*@"?{re.escape("cfunc." + inner)}"?\(.*?^}}\n', re.M | re.S
    )
    text, n = wrapper.subn("", text)
    if n != 1:
        raise RuntimeError("numba's wrapper of a C function was not found in its code.")
    kinds = [_KINDS[kind] for kind in table.arguments_of(name).values()]
    parameters = ", ".join(f"{kind} %{i}" for i, kind in enumerate(kinds))
    ours = f"""
define i64 @{symbol(name, dtype)}({parameters}) {{
  %status = alloca i64
  %error = alloca ptr
  %code = call i32 @"{inner}"(ptr %status, ptr %error, {parameters})
  %given = load i64, ptr %status
  %fails = icmp ne i32 %code, 0
  %result = select i1 %fails, i64 {_FAILED}, i64 %given
  ret i64 %result
}}
"""
    return text + ours
