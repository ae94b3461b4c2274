"""Named tuples of arrays and numbers in one flat array, which may be copied, saved or moved.

The array begins with a header of int64: a mark that tells the kind, the version and the dtype, the
size of the whole in bytes, then two words per field, the fields of inner tuples in line. For an
array these are its offset in bytes from the start and its length; for a number, its value and zero.
Every array begins at a multiple of 64 bytes. Nothing in it is an address.

`fields` gives the fields by name in Python, and `view` does in kernels, which pass on one pointer
instead of all the arrays.
"""

import functools
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model
from numpy.typing import NDArray

from .instructions import INT64, VECTOR_BYTES, Array, borrowed, require_flat
from .memory import aligned_zeros

# What a field may be, besides int, float and another such tuple.
if TYPE_CHECKING:
    Reals: TypeAlias = Any  # for `pack`, an array or just its length
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
_ITEMS: dict[Any, Any] = {Doubles: types.float64, Int64s: types.int64, Int32s: types.int32}
# Names of our own: how Python writes these types changes with its versions and NumPy's.
_NAMES = {Reals: "R", Doubles: "f8", Int64s: "i8", Int32s: "i4", int: "int", float: "float"}
_WORD = 8  # bytes
_FIRST = 2  # words before the first field: the mark, and the bytes of the whole
HEADER_BYTES = _FIRST * _WORD  # what tells one packed array from another


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[Any, int]]:
    """What each field is, and the place of its first word, counted from the tuple's."""
    found, place = {}, 0
    for name, field in kind.__annotations__.items():
        found[name] = field, place
        place += _n_words(field)
    return found


def _is_tuple(field: Any) -> bool:
    return hasattr(field, "_fields")


def _n_words(field: Any) -> int:
    return sum(_n_words(inner) for inner, _ in _fields(field).values()) if _is_tuple(field) else 2


@functools.cache
def _mark(kind: Any, dtype: Any) -> int:
    """What tells one kind of packed array from another, and from those of other versions."""

    def described(field: Any) -> str:
        if not _is_tuple(field):
            return _NAMES[field]
        return ",".join(f"{name}:{described(inner)}" for name, (inner, _) in _fields(field).items())

    return zlib.crc32(f"{_VERSION} {dtype} {kind.__name__} {described(kind)}".encode())


def _leaves(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Every field that is no tuple, and its value."""
    whole: Any = type(thing)
    for (kind, _), value in zip(_fields(whole).values(), thing, strict=True):
        if _is_tuple(kind):
            yield from _leaves(value)
        else:
            yield kind, value


def pack(thing: NamedTuple, dtype: np.dtype) -> NDArray[np.floating]:
    """A named tuple as one flat array of ``dtype``.

    An array may be given as just its length: then it is filled with zeros.

    Raises
    ------
    ValueError
        If it would need more bytes than an int64 can count.
    """
    leaves = list(_leaves(thing))
    header = [_mark(type(thing), dtype), 0]
    arrays = []
    end = _aligned((_FIRST + 2 * len(leaves)) * _WORD)
    for kind, value in leaves:
        if kind is int:
            header += [int(value), 0]
        elif kind is float:
            header += [int(np.float64(value).view(np.int64)), 0]
        else:
            item = np.dtype(_DTYPES.get(kind, dtype))
            length = len(value) if np.ndim(value) else int(value)
            if np.ndim(value):
                arrays.append((end, np.ascontiguousarray(value, item)))
            header += [end, length]
            end = _aligned(end + length * item.itemsize)
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
        If it holds something else, or was packed by another version, or is not whole.
    """
    raw = packed.view(np.uint8).data
    room = len(raw) // _WORD
    mark, end = np.frombuffer(raw, np.int64, 2).tolist() if room >= _FIRST else (0, 0)
    if mark != _mark(kind, packed.dtype) or end != len(raw):
        raise ValueError(
            f"a packed {kind.__name__} must be a whole array of {packed.dtype} that this version "
            f"of fastbp has made, got {len(packed)} numbers that are something else."
        )
    return _unpacked(raw, packed.dtype, kind, _FIRST)


def _unpacked(raw: memoryview, dtype: np.dtype, kind: Any, first: int) -> Any:
    values: list[Any] = []
    for field, place in _fields(kind).values():
        if _is_tuple(field):
            values.append(_unpacked(raw, dtype, field, first + place))
            continue
        start, length = np.frombuffer(raw, np.int64, 2, (first + place) * _WORD).tolist()
        if field is int:
            values.append(start)
        elif field is float:
            values.append(float(np.int64(start).view(np.float64)))
        else:
            item = np.dtype(_DTYPES.get(field, dtype))
            # Slice first: otherwise the array's base would be the whole, with its header.
            values.append(np.frombuffer(raw[start : start + length * item.itemsize], item))
    return kind(*values)


class Packed(types.Type):
    """Numba type of a packed tuple, or of one within it: a pointer to the start of the whole."""

    def __init__(self, kind: Any, dtype: Any, first: int) -> None:
        self.kind, self.dtype, self.first = kind, dtype, first
        # Types of one name are the same to numba, whereas classes of one name need not be.
        super().__init__(name=f"Packed({kind.__name__} {_mark(kind, dtype)}, {dtype}, {first})")

    def type_of(self, name: str) -> Any:
        """Numba type of a field."""
        field, place = _fields(self.kind)[name]
        if _is_tuple(field):
            return Packed(field, self.dtype, self.first + place)
        if field is int or field is float:
            return types.int64 if field is int else types.float64
        return types.Array(_ITEMS.get(field, self.dtype), 1, "C")


@register_model(Packed)
class _PackedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, packed: Packed) -> None:
        super().__init__(manager, packed, cgutils.voidptr_t)


@infer_getattr
class _PackedAttributes(AttributeTemplate):
    key = Packed

    def generic_resolve(self, packed: Packed, name: str) -> Any:
        return packed.type_of(name) if name in _fields(packed.kind) else None


def _word(builder: Any, pointer: Any, place: int, kind: Any) -> Any:
    """A word of the header.

    Kernels never change it, and nobody else does while they run: it need not be read twice.
    """
    words = builder.bitcast(pointer, kind.as_pointer())
    word = builder.load(builder.gep(words, [INT64(place)]), align=_WORD)
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word


@lower_getattr_generic(Packed)
def _get_field(context: Any, builder: Any, packed: Packed, pointer: Any, name: str) -> Any:
    kind, place = packed.type_of(name), packed.first + _fields(packed.kind)[name][1]
    if isinstance(kind, Packed):
        return pointer
    if not isinstance(kind, types.Array):
        return _word(builder, pointer, place, context.get_value_type(kind))
    start = _word(builder, pointer, place, INT64)
    data = builder.gep(pointer, [start])
    data = builder.bitcast(data, context.get_data_type(kind.dtype).as_pointer())
    return borrowed(context, builder, kind, data, _word(builder, pointer, place + 1, INT64))


def _is_whole(builder: Any, array: Array, mark: int) -> Any:
    """Whether an array has this mark and its whole length; false as well if it has no header."""
    pointer = builder.bitcast(array.data, cgutils.voidptr_t)
    room = builder.mul(array.shape[0], INT64(array.itemsize))
    is_whole = cgutils.alloca_once_value(builder, cgutils.false_bit)
    with builder.if_then(builder.icmp_signed("<=", INT64(HEADER_BYTES), room), likely=True):
        here, end = (_word(builder, pointer, place, INT64) for place in range(_FIRST))
        is_mine = builder.icmp_signed("==", here, INT64(mark))
        builder.store(builder.and_(is_mine, builder.icmp_signed("==", end, room)), is_whole)
    return builder.load(is_whole)


@intrinsic
def is_packed(typing_context: Any, packed: Any, kind: Any) -> Any:
    """Whether an array is a whole packed tuple of this kind, dtype and version."""
    require_flat(packed)
    mark = _mark(kind.instance_class, packed.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _is_whole(builder, Array(context, builder, signature.args[0], args[0]), mark)

    return types.boolean(packed, kind), codegen


def _viewer(is_checked: bool) -> Any:
    """Make `view`, or `view_unchecked`."""

    @intrinsic
    def view(typing_context: Any, packed: Any, kind: Any) -> Any:
        require_flat(packed)
        thing = kind.instance_class
        mark = _mark(thing, packed.dtype)
        message = (
            f"a packed {thing.__name__} must be a whole array of {packed.dtype}, got another one."
        )

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = Array(context, builder, signature.args[0], args[0])
            if is_checked:
                is_whole = _is_whole(builder, array, mark)
                with cgutils.if_unlikely(builder, builder.not_(is_whole)):
                    context.call_conv.return_user_exc(builder, ValueError, (message,))
            return builder.bitcast(array.data, cgutils.voidptr_t)

        return Packed(thing, packed.dtype, _FIRST)(packed, kind), codegen

    return view


# `fields` for kernels: nothing but the header is read until a field is asked for. The second is for
# functions that have asked `is_packed`, and raise nothing.
view = _viewer(is_checked=True)
view_unchecked = _viewer(is_checked=False)


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
        thing = context.unpack_value(builder, address.dtype, args[0])
        return impl_ret_borrowed(context, builder, address.dtype, thing)

    return address.dtype(address), codegen


if config.DISABLE_JIT:
    view = view_unchecked = fields

    def is_packed(packed: Any, kind: Any) -> bool:
        """Whether `fields` would give the fields."""
        try:
            fields(packed, kind)
        except ValueError:
            return False
        return True

    def _itself(thing: Any) -> Any:
        return thing

    reference = recall = _itself
