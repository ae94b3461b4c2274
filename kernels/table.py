"""C functions of `single`, behind a table of pointers that compiled code looks up when it runs.

A user's compiled function that called a kernel directly would hold a copy of it, in its own file of
the cache, where it would outlive an upgrade of fastbp. So it calls through a table instead, one for
each dtype, known to LLVM by a symbol. What stays in the user's code is a call: the symbol's name,
and a function's place in the table and its arguments. `VERSION` is a part of the name. If places or
arguments change, it is counted up, and the old symbols become tables whose functions all return
`statuses.OUTDATED`.
"""

import ctypes
import inspect
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from . import _numba, compiling, single, statuses
from ._jit import c_function
from .bits import flush_subnormals, restore_subnormals
from .instructions import INT64, Array
from .memory import array_at

VERSION = 1


def c_predict_one(state, n, x, n_x, out, n_out):
    mode = flush_subnormals()
    status = single.predict_one(array_at(state, n), array_at(x, n_x), array_at(out, n_out))
    restore_subnormals(mode)
    return status


def c_learn_one(state, n, x, n_x, label, y, n_y, weight, loss):
    state, x, y = array_at(state, n), array_at(x, n_x), array_at(y, n_y)
    mode = flush_subnormals()
    status = single.learn_one(state, x, label, y, weight, array_at(loss, 1))
    restore_subnormals(mode)
    return status


def c_vjp(state, n, x, n_x, cotangent, n_out, gradient, n_gradient, gradient_x, n_gradient_x):
    gradient, gradient_x = array_at(gradient, n_gradient), array_at(gradient_x, n_gradient_x)
    state, x, cotangent = array_at(state, n), array_at(x, n_x), array_at(cotangent, n_out)
    mode = flush_subnormals()
    status = single.vjp(state, x, cotangent, gradient, gradient_x)
    restore_subnormals(mode)
    return status


def c_apply(state, n, gradient, n_gradient):
    mode = flush_subnormals()
    status = single.apply(array_at(state, n), array_at(gradient, n_gradient))
    restore_subnormals(mode)
    return status


def c_set_learning_rate(state, n, learning_rate):
    return single.set_learning_rate(array_at(state, n), learning_rate)


# Types of the arguments: "R" is a pointer to floats of the network's dtype that are written to, "r"
# to others; "i" is an int64, "d" a double, "D" a pointer to one. All return a status, int64.
# In the order of the table.
_ARGUMENTS: dict[str, tuple[Any, str]] = {
    "predict_one": (c_predict_one, "RiriRi"),
    "learn_one": (c_learn_one, "RiriiridD"),
    "vjp": (c_vjp, "RiririRiRi"),
    "apply": (c_apply, "Riri"),
    "set_learning_rate": (c_set_learning_rate, "Rid"),
}
_NAMES = list(_ARGUMENTS)
_NUMBERS = {"i": types.int64, "d": types.float64}
_DTYPES = {np.dtype(name): getattr(types, name) for name in ("float32", "float64")}


def _signature(kinds: str, real: Any) -> Any:
    known = _NUMBERS | dict.fromkeys("Rr", types.CPointer(real))
    known["D"] = types.CPointer(types.float64)
    return types.int64(*(known[kind] for kind in kinds))


def arguments_of(name: str) -> dict[str, str]:
    """Kind of each argument of a C function, as in `_ARGUMENTS`, by its name."""
    function, kinds = _ARGUMENTS[name]
    return dict(zip(inspect.signature(function).parameters, kinds, strict=True))


def c_functions(dtype: np.dtype, caches: bool = True) -> dict[str, Any]:
    """C functions by name, of which `compile` has not yet been called."""
    real = _DTYPES[dtype]
    return {
        name: c_function(function, _signature(kinds, real), dtype.name, caches)
        for name, (function, kinds) in _ARGUMENTS.items()
    }


def _symbol(dtype: Any) -> str:
    return f"fastbp_table_{VERSION}_{dtype}"


_tables = {dtype: (ctypes.c_void_p * len(_NAMES))() for dtype in _DTYPES}
for _dtype, _table in _tables.items():
    llvm.add_symbol(_symbol(_dtype), ctypes.addressof(_table))
_loaded: dict[np.dtype, list[Any]] = {}


def compile_all(functions: dict[str, Any], dtype: np.dtype, then: Callable[[], None]) -> None:
    """Compile C functions of a dtype or load them from files, then do what is left to do."""

    def work() -> None:
        for function in functions.values():
            function.compile()
        then()

    def missed() -> int:
        return sum(function.misses for function in functions.values())

    if _numba.is_compiling():  # Python code that numba runs while it compiles
        work()
        return
    compiling.wait_for(lambda: _numba.with_compiler(work), missed, dtype.name, True)


def load_functions(dtype: np.dtype) -> bool:
    """Put the C functions for a dtype into the table; whether there was no machine code of them."""
    if dtype in _loaded or config.DISABLE_JIT:
        return False
    functions = c_functions(dtype)

    def enter() -> None:
        for place, function in enumerate(functions.values()):
            _tables[dtype][place] = function.address
        _loaded.setdefault(dtype, []).append(functions)  # which keeps the machine code

    compile_all(functions, dtype, enter)
    return any(function.misses for function in functions.values())


def _require(name: str, wanted: str, kind: Any, real: Any) -> None:
    """Refuse, when the user's function is compiled, what would be read wrongly when it runs."""
    if wanted in _NUMBERS:
        of = types.Integer if wanted == "i" else (types.Integer, types.Float)
        if not isinstance(kind, of):
            raise TypingError(f"{name} must be a real number for fastbp.jit, got {kind}.")
    elif name == "state" or not isinstance(kind, types.NoneType):
        is_flat = isinstance(kind, types.Array) and kind.ndim == 1 and kind.layout == "C"
        may = is_flat and (kind.mutable or wanted == "r") and kind.dtype in _DTYPES.values()
        if not may or kind.dtype != real:
            raise TypingError(
                f"{name} must be a flat C-contiguous {'' if wanted == 'r' else 'writable '}array "
                "for fastbp.jit, float32 or float64 as the state is; the state is of "
                f"{real}, {name} is {kind}."
            )


def _pointers(context: Any, builder: Any, real: Any, kind: Any, value: Any) -> list[Any]:
    """Data and length of an array, as a C function is given them; None is an empty array."""
    if isinstance(kind, types.NoneType):
        return [ir.Constant(context.get_value_type(real).as_pointer(), None), INT64(0)]
    array = Array(context, builder, kind, value)
    return [array.data, array.shape[0]]


def _caller(name: str) -> Any:
    """What calls the C function of this name, for compiled code."""
    gives_loss = name == "learn_one"

    @intrinsic
    def call(typing_context: Any, packed: Any, arguments: Any) -> Any:
        kinds = tuple(arguments)
        real = getattr(packed, "dtype", None)
        given = iter((packed, *kinds))
        for parameter, wanted in arguments_of(name).items():
            if wanted != "D" and not parameter.startswith("n_") and parameter != "n":
                _require(parameter, wanted, next(given), real)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            loss = cgutils.alloca_once_value(builder, ir.Constant(ir.DoubleType(), float("nan")))
            passed = _pointers(context, builder, real, packed, values[0])
            for kind, value in zip(kinds, cgutils.unpack_tuple(builder, values[1]), strict=True):
                wanted = _NUMBERS.get(_ARGUMENTS[name][1][len(passed)])
                if wanted is None:
                    passed += _pointers(context, builder, real, kind, value)
                else:
                    passed.append(context.cast(builder, value, kind, wanted))
            if gives_loss:
                passed.append(loss)
            pointer = ir.FunctionType(INT64, [value.type for value in passed]).as_pointer()
            table_type = ir.ArrayType(cgutils.voidptr_t, len(_NAMES))
            table = builder.module.globals.get(_symbol(real))
            if table is None:
                table = ir.GlobalVariable(builder.module, table_type, _symbol(real))
            place = builder.gep(table, [INT64(0), INT64(_NAMES.index(name))])
            target = builder.load(place)
            status = cgutils.alloca_once_value(builder, INT64(statuses.UNLOADED))
            with builder.if_then(cgutils.is_not_null(builder, target), likely=True):
                builder.store(builder.call(builder.bitcast(target, pointer), passed), status)
            return context.make_tuple(
                builder, signature.return_type, [builder.load(status), builder.load(loss)]
            )

        return types.Tuple((types.int64, types.float64))(packed, arguments), codegen

    return call


def _interpreter(name: str) -> Any:
    """The same by the interpreted function."""

    def call(packed: Any, arguments: Any) -> Any:
        given = [packed[:0] if each is None else each for each in arguments]
        loss = np.full(1, np.nan)
        if name == "learn_one":
            given.append(loss)
        return getattr(single, name)(packed, *given), loss[0]

    return call


# Each takes a state and a tuple of arguments, and gives a status and a loss, NaN if there is none.
# Arguments are flat arrays of the state's dtype, None for an empty one, integers or floats.
call_predict_one, call_learn_one, call_vjp, call_apply, call_set_learning_rate = map(
    _interpreter if config.DISABLE_JIT else _caller, _NAMES
)
