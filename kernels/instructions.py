"""Tools to define operations of kernels by LLVM code of our own, each with a NumPy stand-in.

`instruction` makes one of a function that emits the code. With ``NUMBA_DISABLE_JIT=1`` kernels get
the stand-in.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.core.errors import TypingError
from numba.extending import intrinsic

VECTOR_BYTES = 64  # size of a SIMD vector; arrays begin at multiples of it
INT32, INT64 = ir.IntType(32), ir.IntType(64)


def require_flat(array: Any) -> None:
    """Refuse, at compile time, arrays that kernels would read wrongly at run time."""
    if not isinstance(array, types.Array) or array.ndim != 1 or array.layout != "C":
        raise TypingError(f"fastbp kernels take flat C-contiguous arrays here, got {array}.")


def require_one_dtype(*things: Any) -> Any:
    """The dtype of numbers, vectors and flat arrays, float32 or float64, the same for all."""
    for thing in things:
        if isinstance(thing, types.Array):
            require_flat(thing)
    dtypes = {getattr(thing, "dtype", thing) for thing in things}
    if len(dtypes) > 1 or not dtypes <= {types.float32, types.float64}:
        given = ", ".join(map(str, things))
        raise TypingError(f"fastbp kernels take arrays of one dtype, of floats, got {given}.")
    return dtypes.pop()


def alike(*operands: Any) -> Any:
    """Signature of an operation on vectors or numbers of one type, which is the result's too."""
    if len(set(operands)) > 1:
        raise TypingError(f"fastbp kernels take vectors of one type, got {operands}.")
    require_one_dtype(*operands)
    return operands[0](*operands)


def giving(result: Any) -> Callable:
    """Typing of an operation on integers and on floats of one dtype: numbers, vectors or arrays.

    ``result`` is the type of what it gives, or the number of the operand that has that type.
    """

    def typing(*operands: Any) -> Any:
        kinds = [types.int64 if isinstance(kind, types.Integer) else kind for kind in operands]
        require_one_dtype(*(kind for kind in kinds if kind != types.int64))
        return (kinds[result] if isinstance(result, int) else result)(*kinds)

    return typing


@functools.cache
def _has_wide_registers() -> bool:
    """Whether LLVM puts a vector of 64 bytes into one register."""
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(config.CPU_NAME or llvm.get_host_cpu_name(), features)
    module, kind = ir.Module(), ir.VectorType(ir.FloatType(), 16)
    function = ir.Function(module, ir.FunctionType(kind, [kind, kind]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.fadd(*function.args))
    return "zmm" in machine.emit_assembly(llvm.parse_assembly(str(module)))


class Array:
    """A C-contiguous array in emitted code."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._context, self._builder, self._value = context, builder, value
        self._model = context.data_model_manager[kind]
        self.data = self._model.get(builder, value, "data")
        self.itemsize = kind.dtype.bitwidth // 8
        self.vector = ir.VectorType(self.data.type.pointee, VECTOR_BYTES // self.itemsize)

    @property
    def fits_register(self) -> bool:
        """Whether a vector is a single register of the processor that is compiled for."""
        return _has_wide_registers()

    @property
    def shape(self) -> Any:
        """Length of each axis."""
        shape = self._model.get(self._builder, self._value, "shape")
        return cgutils.unpack_tuple(self._builder, shape)

    def at(self, index: Any, kind: Any = None) -> Any:
        """Pointer to the element at an index, or to a vector of that type from there on."""
        builder, count = self._builder, kind.count if kind else 1
        if self._context.enable_boundscheck:
            last = builder.add(index, index.type(count - 1))
            self.check(index, self.shape[0])
            self.check(last, self.shape[0])
        pointer = builder.gep(self.data, [index])
        return builder.bitcast(pointer, kind.as_pointer()) if kind else pointer

    def prefetch(self, index: Any) -> None:
        """Ask for the cache line of an element; the index may be out of bounds."""
        builder = self._builder
        address = builder.bitcast(builder.gep(self.data, [index]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [address.type, INT32, INT32, INT32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        # To read; to be used soon, but not at once: the second level; data.
        builder.call(function, [address, INT32(0), INT32(2), INT32(1)])

    def check_span(self, start: Any, length: Any, whole: Any) -> None:
        """Under NUMBA_BOUNDSCHECK: the span lies in the whole. It may be empty at the end."""
        if self._context.enable_boundscheck:
            past = self._builder.add(whole, whole.type(1))
            self.check(start, past)
            self.check(self._builder.add(start, length), past)

    def check(self, index: Any, length: Any) -> None:
        """Raise an IndexError, when the code runs, unless 0 ≤ index < length."""
        cgutils.do_boundscheck(self._context, self._builder, index, length)

    # Element alignment is all that is asked, so that any buffer of the caller's is safe; on
    # aligned data the unaligned instructions are as fast.

    def load(self, index: Any, kind: Any) -> Any:
        """Vector of that type from an index on."""
        return self._builder.load(self.at(index, kind), align=self.itemsize)

    def store(self, index: Any, vector: Any) -> None:
        """Write a vector from an index on."""
        self._builder.store(vector, self.at(index, vector.type), align=self.itemsize)


def borrowed(context: Any, builder: Any, kind: Any, data: Any, length: Any) -> Any:
    """A flat array of what others keep alive: no reference to it is counted."""
    model = context.data_model_manager[kind]
    itemsize = length.type(kind.dtype.bitwidth // 8)
    array = ir.Constant(model.get_value_type(), None)
    for name, member in (("nitems", length), ("itemsize", itemsize), ("data", data)):
        array = model.set(builder, array, member, name)
    for name, member in (("shape", length), ("strides", itemsize)):
        place = [model.get_field_position(name), 0]
        array = builder.insert_value(array, member, place)
    return array


def keep_rolled(builder: Any, branch: Any) -> None:
    """Have LLVM not unroll the loop that a branch ends."""
    module = builder.module
    no = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    # The first operand of a loop's node is the node itself, which tells it from other loops'.
    node = ir.MDValue(module, (), str(len(module.metadata)))
    node.operands = (node, no)
    branch.set_metadata("llvm.loop", node)


def _operand(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """What emitting code is given for a value: an `Array`, or a named tuple of operands."""
    if isinstance(kind, types.Array):
        return Array(context, builder, kind, value)
    if isinstance(kind, types.BaseNamedTuple):
        members = cgutils.unpack_tuple(builder, value)
        parts = zip(kind.types, members, strict=True)
        return kind.instance_class(*(_operand(context, builder, *part) for part in parts))
    return value


def instruction(typing: Callable, stand_in: Callable) -> Callable:
    """Decorator of a function that emits an operation's code, given the builder and the operands.

    Parameters
    ----------
    typing : callable
        Gives the signature, from the types of the operands.
    stand_in : callable
        What is called in interpreted kernels.

    Notes
    -----
    An operand that is an array is given as an `Array`, also in a named tuple. Code that makes a
    flat array returns its data and its length; code that makes a tuple returns that.
    """

    def decorate(emit: Callable) -> Any:
        @functools.wraps(emit)  # numba takes the names of the operands from it
        def define(typing_context: Any, *operands: Any) -> Any:
            return typing(*operands), generate

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            operands = zip(signature.args, values, strict=True)
            result = emit(builder, *(_operand(context, builder, *each) for each in operands))
            kind = signature.return_type
            if isinstance(kind, types.Array):
                return borrowed(context, builder, kind, *result)
            if isinstance(kind, types.BaseTuple):
                return context.make_tuple(builder, kind, result)
            return context.get_dummy_value() if kind == types.none else result

        return stand_in if config.DISABLE_JIT else intrinsic(define)

    return decorate
