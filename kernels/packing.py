"""Named tuples of arrays and numbers in one flat array, which may be copied, saved or moved.

The array begins with a header of int64: a mark that tells the kind, the version and the dtype, then
two words for each field, the fields of inner tuples in their places. Of an array these are its
first byte, counted from the start of the whole, and its length; of a number its value and zero.
Every array begins at a multiple of 64 bytes. Nothing in it is an address.

`view` gives the fields by their names, in Python and in kernels alike. Kernels hand on one pointer
in place of all the arrays.
"""

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model
from numpy.typing import NDArray

from .instructions import INT64, VECTOR_BYTES, borrowed, instruction, require_flat
from .memory import aligned_zeros

# What a field may be, besides int, float and another such tuple.
if TYPE_CHECKING:
    Reals: TypeAlias = Any  # in place of an array its length may stand
    Doubles: TypeAlias = Any
    Int64s: TypeAlias = Any
    Int32s: TypeAlias = Any
else:
    Reals = NDArray[np.floating]  # of the network's dtype
    Doubles = NDArray[np.float64]
    Int64s = NDArray[np.int64]
    Int32s = NDArray[np.int32]

_VERSION = 1
_DTYPES: dict[Any, Any] = {Doubles: np.float64, Int64s: np.int64, Int32s: np.int32}
_WORD = 8
_FIRST = 2  # words before the first field: the mark, and the bytes of the whole
HEADER_BYTES = _FIRST * _WORD  # what tells one packed array from another


def _fields(kind: Any) -> dict[str, Any]:
    """Names of the fields of a tuple's class, and what they are."""
    return dict(kind.__annotations__)


def _n_words(field: Any) -> int:
    if hasattr(field, "_fields"):
        return sum(_n_words(inner) for inner in _fields(field).values())
    return 2


def _place(kind: Any, name: str) -> int:
    """Words from a tuple's first to those of a field."""
    words = 0
    for other, field in _fields(kind).items():
        if other == name:
            return words
        words += _n_words(field)
    raise AttributeError(name)


def _mark(kind: Any, dtype: np.dtype) -> int:
    """What tells one kind of packed array from another, and from those of other versions."""

    def described(kind: Any) -> str:
        inner = ((name, f) for name, f in _fields(kind).items())
        return ",".join(f"{n}:{described(f) if hasattr(f, '_fields') else f}" for n, f in inner)

    return zlib.crc32(f"{_VERSION} {dtype} {kind.__name__} {described(kind)}".encode())


def _leaves(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Every field that is no tuple, and its value."""
    for (_, field), value in zip(_fields(type(thing)).items(), thing, strict=True):
        if hasattr(field, "_fields"):
            yield from _leaves(value)
        else:
            yield field, value


def pack(thing: NamedTuple, dtype: np.dtype) -> NDArray[np.floating]:
    """A named tuple as one flat array of ``dtype``.

    In place of an array its length may stand: then it holds zeros.

    Raises
    ------
    ValueError
        If it would need more bytes than an int64 can count.
    """
    leaves = list(_leaves(thing))
    header = [_mark(type(thing), dtype), 0]
    arrays = []
    end = _aligned((_FIRST + 2 * len(leaves)) * _WORD)
    for field, value in leaves:
        if field is int:
            header += [int(value), 0]
        elif field is float:
            header += [int(np.float64(value).view(np.int64)), 0]
        else:
            kind = np.dtype(_DTYPES.get(field, dtype))
            length = value if isinstance(value, int) else len(value)
            if not isinstance(value, int):
                arrays.append((end, np.ascontiguousarray(value, kind)))
            header += [end, length]
            end = _aligned(end + length * kind.itemsize)
    header[1] = end
    if end > np.iinfo(np.int64).max:
        raise ValueError(f"sizes must need at most 2**63 - 1 bytes, got {end}.")
    packed = aligned_zeros(end // dtype.itemsize, dtype)
    raw = packed.view(np.uint8)
    raw[: len(header) * _WORD] = np.array(header, np.int64).view(np.uint8)
    for start, array in arrays:
        raw[start : start + array.nbytes] = array.view(np.uint8)
    return packed


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // VECTOR_BYTES) * VECTOR_BYTES


def fields(packed: NDArray[np.floating], kind: Any) -> Any:
    """The fields of a packed array: arrays are views of it.

    Raises
    ------
    ValueError
        If it holds something else, or was packed by another version.
    """
    raw = packed.view(np.uint8).data
    if np.frombuffer(raw, np.int64, 1)[0] != _mark(kind, packed.dtype):
        raise ValueError(f"a {kind.__name__} must be packed by this version of fastbp.")
    return _unpacked(raw, packed.dtype, kind, _FIRST)


def _unpacked(raw: memoryview, dtype: np.dtype, kind: Any, place: int) -> Any:
    values: list[Any] = []
    for field in _fields(kind).values():
        start, length = np.frombuffer(raw, np.int64, 2, place * _WORD).tolist()
        if hasattr(field, "_fields"):
            values.append(_unpacked(raw, dtype, field, place))
        elif field is int:
            values.append(start)
        elif field is float:
            values.append(float(np.int64(start).view(np.float64)))
        else:
            item = np.dtype(_DTYPES.get(field, dtype))
            # By way of a slice, or a view's base would be the whole, header and all.
            values.append(np.frombuffer(raw[start : start + length * item.itemsize], item))
        place += _n_words(field)
    return kind(*values)


class Packed(types.Type):
    """Numba type of a packed tuple, or of one within it: a pointer to the start of the whole."""

    def __init__(self, kind: Any, dtype: Any, place: int) -> None:
        self.kind, self.dtype, self.place = kind, dtype, place
        super().__init__(name=f"Packed({kind.__qualname__}, {dtype}, {place})")

    def field(self, name: str) -> Any:
        """Numba type of a field."""
        field = _fields(self.kind)[name]
        if hasattr(field, "_fields"):
            return Packed(field, self.dtype, self.place + _place(self.kind, name))
        if field is int:
            return types.int64
        if field is float:
            return types.float64
        item = _DTYPES.get(field)
        return types.Array(_ITEMS[item] if item else self.dtype, 1, "C")


_ITEMS = {np.float64: types.float64, np.int64: types.int64, np.int32: types.int32}


@register_model(Packed)
class _PackedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, packed: Packed) -> None:
        super().__init__(manager, packed, cgutils.voidptr_t)


@infer_getattr
class _PackedAttributes(AttributeTemplate):
    key = Packed

    def generic_resolve(self, packed: Packed, name: str) -> Any:
        return packed.field(name) if name in _fields(packed.kind) else None


def _word(builder: Any, pointer: Any, place: int, kind: Any) -> Any:
    """A word of the header, which kernels never change: it need not be read twice."""
    words = builder.bitcast(pointer, kind.as_pointer())
    word = builder.load(builder.gep(words, [INT64(place)]), align=_WORD)
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word


@lower_getattr_generic(Packed)
def _get_field(context: Any, builder: Any, packed: Packed, pointer: Any, name: str) -> Any:
    kind, place = packed.field(name), packed.place + _place(packed.kind, name)
    if isinstance(kind, Packed):
        return pointer
    if not isinstance(kind, types.Array):
        return _word(builder, pointer, place, context.get_value_type(kind))
    start = _word(builder, pointer, place, INT64)
    data = builder.bitcast(
        builder.gep(pointer, [start]), context.get_data_type(kind.dtype).as_pointer()
    )
    return borrowed(context, builder, kind, data, _word(builder, pointer, place + 1, INT64))


def _viewed(packed: Any, kind: Any) -> Any:
    require_flat(packed)
    return Packed(kind.instance_class, packed.dtype, _FIRST)(packed, kind)


@instruction(_viewed, fields)
def view(builder, packed, kind):
    """`fields` for kernels: nothing is read until a field is asked for."""
    return builder.bitcast(packed.data, cgutils.voidptr_t)


@intrinsic
def reference(typing_context: Any, thing: Any) -> Any:
    """Address of a copy of a tuple of any depth, which lives as long as the calling function."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_data_type(thing))
        context.pack_value(builder, thing, args[0], place)
        return place

    return types.CPointer(thing)(thing), codegen


@intrinsic
def recall(typing_context: Any, address: Any) -> Any:
    """The tuple that `reference` was given."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.unpack_value(builder, address.dtype, args[0])

    return address.dtype(address), codegen


if config.DISABLE_JIT:

    def reference(thing: Any) -> Any:
        return thing

    def recall(address: Any) -> Any:
        return address
