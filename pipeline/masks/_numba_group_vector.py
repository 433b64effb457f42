"""Vectors of integers for compiled kernels: what LLVM offers and Numba does not.

A `Lanes` value lives in a register inside a compiled function; it cannot leave
one. Each operation here is one or two machine instructions. Loads and stores
take a pointer and an element index, need no alignment, and check nothing: the
caller proves that all bytes lie inside the array that is pointed to. Pointers
and not arrays, because Numba counts references to arrays even in inner loops.

All operations are plain LLVM and compile for any CPU, but for two that have a
name of their own on x86 (`pick_bytes`, `add_neighbours`); elsewhere they are
spelled out, which is right but slow.
"""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

BIT, I8, I16, I32, I64 = (ir.IntType(n_bits) for n_bits in (1, 8, 16, 32, 64))


class Lanes(types.Type):
    """Numba's type of a vector register of `count` signed integers of `bits` bits."""

    def __init__(self, count: int, bits: int) -> None:
        self.count = count
        self.bits = bits
        super().__init__(name=f"int{bits}x{count}")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    """A vector register is one LLVM value."""

    def __init__(self, manager: Any, fe_type: Lanes) -> None:
        super().__init__(manager, fe_type, _vector(fe_type.bits, fe_type.count))


INT16X8, INT16X16, INT32X8 = Lanes(8, 16), Lanes(16, 16), Lanes(8, 32)


def _vector(bits: int, count: int) -> ir.VectorType:
    return ir.VectorType(ir.IntType(bits), count)


def _constant(vector: ir.VectorType, values: Sequence[int]) -> ir.Constant:
    return ir.Constant(vector, list(values))


def _declared(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    function = ir.FunctionType(result, list(arguments))
    return cgutils.get_or_insert_function(builder.module, function, name)


def _features(context: Any) -> str:
    """Return what the CPU that is compiled for can do, as LLVM lists it."""
    return context.codegen().magic_tuple()[2]


def _element(builder: Any, args: Any, to: Any) -> Any:
    """Address of element ``args[1]`` behind the pointer ``args[0]``, as a pointer to `to`."""
    return builder.bitcast(builder.gep(args[0], [args[1]]), to.as_pointer())


@intrinsic
def pointer_to(typingctx, array):
    """Address of an array's first element: read and written by index, not reference counted.

    The array must outlive it, and whoever holds the array counts the elements.
    """

    def lower(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), lower


def _load(lanes: Lanes) -> Any:
    @intrinsic
    def load(typingctx, pointer, index):
        def lower(context, builder, signature, args):
            vector = _vector(lanes.bits, lanes.count)
            return builder.load(_element(builder, args, vector), align=1)

        return lanes(pointer, types.intp), lower

    return load


load_16x8, load_16x16, load_32x8 = (_load(lanes) for lanes in (INT16X8, INT16X16, INT32X8))


@intrinsic
def load_8_bytes(typingctx, pointer, index):
    """Load 8 bytes into the lower half of a register; zeros above."""

    def lower(context, builder, signature, args):
        word = builder.load(_element(builder, args, I64), align=1)
        pair = _constant(_vector(64, 2), [0, 0])
        pair = builder.insert_element(pair, word, ir.Constant(I32, 0))
        return builder.bitcast(pair, _vector(16, 8))

    return INT16X8(pointer, types.intp), lower


@intrinsic
def load_word(typingctx, pointer, index):
    """Load 8 bytes as one little-endian number."""

    def lower(context, builder, signature, args):
        return builder.load(_element(builder, args, I64), align=1)

    return types.uint64(pointer, types.intp), lower


@intrinsic
def bytes_above_79(typingctx, pointer, index):
    """Say of each of 64 bytes whether it is in 80..127: bit n for byte n."""

    def lower(context, builder, signature, args):
        vector = _vector(8, 64)
        chars = builder.load(_element(builder, args, vector), align=1)
        above = builder.icmp_signed(">", chars, _constant(vector, [79] * 64))
        return builder.bitcast(above, I64)

    return types.uint64(pointer, types.intp), lower


@intrinsic
def store(typingctx, pointer, index, lanes):
    """Write all lanes to an array, from an element on."""

    def lower(context, builder, signature, args):
        pointer = _element(builder, args, args[2].type)
        builder.store(args[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, lanes), lower


@intrinsic
def prefetch(typingctx, pointer, index):
    """Ask for the cache line of an element; any index is allowed."""

    def lower(context, builder, signature, args):
        address = _element(builder, args, I8)
        name = f"llvm.prefetch.{address.type.intrinsic_name}"
        function = _declared(builder, name, ir.VoidType(), [address.type, I32, I32, I32])
        builder.call(function, [address, *(ir.Constant(I32, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(pointer, types.intp), lower


def _binary(emit: Callable[[Any, Any, Any], Any]) -> Any:
    """Operation on two vectors of one type, made by ``emit(builder, a, b)``."""

    @intrinsic
    def operation(typingctx, a, b):
        if a is not b:
            raise TypeError(f"vectors of one type expected, got {a} and {b}")

        def lower(context, builder, signature, args):
            return emit(builder, args[0], args[1])

        return a(a, b), lower

    return operation


def _named(name: str) -> Any:
    """Operation that LLVM knows by name, for each width."""

    def emit(builder: Any, a: Any, b: Any) -> Any:
        full = f"llvm.{name}.v{a.type.count}i{a.type.element.width}"
        return builder.call(_declared(builder, full, a.type, [a.type, a.type]), [a, b])

    return _binary(emit)


add = _binary(lambda builder, a, b: builder.add(a, b))
subtract = _binary(lambda builder, a, b: builder.sub(a, b))
multiply = _binary(lambda builder, a, b: builder.mul(a, b))
both = _binary(lambda builder, a, b: builder.and_(a, b))
either = _binary(lambda builder, a, b: builder.or_(a, b))
differ = _binary(lambda builder, a, b: builder.xor(a, b))
smaller = _named("smin")
larger = _named("smax")
excess = _named("usub.sat")
"""Unsigned a - b, or 0 where b is larger."""
is_greater = _binary(
    lambda builder, a, b: builder.sext(builder.icmp_signed(">", a, b), a.type),
)
"""All bits of a lane where a > b, else none."""


def _constant_shift(emit: str, n_bits: int) -> Any:
    @intrinsic
    def shift(typingctx, a):
        def lower(context, builder, signature, args):
            by = _constant(args[0].type, [n_bits] * args[0].type.count)
            return getattr(builder, emit)(args[0], by)

        return a(a), lower

    return shift


shift_left_10 = _constant_shift("shl", 10)
shift_right_3 = _constant_shift("lshr", 3)
shift_right_5 = _constant_shift("lshr", 5)
sign_of = _constant_shift("ashr", 15)
"""All bits of an int16 lane where it is negative, else none."""


def _rearrange(order: Sequence[int]) -> Any:
    """Lanes of an int16x8 in another order; 8 stands for zero."""

    @intrinsic
    def rearrange(typingctx, a):
        def lower(context, builder, signature, args):
            zeros = _constant(args[0].type, [0] * 8)
            return builder.shuffle_vector(args[0], zeros, _constant(_vector(32, 8), order))

        return INT16X8(a), lower

    return rearrange


up_1_lane = _rearrange([8, 0, 1, 2, 3, 4, 5, 6])
up_2_lanes = _rearrange([8, 8, 0, 1, 2, 3, 4, 5])
up_4_lanes = _rearrange([8, 8, 8, 8, 0, 1, 2, 3])
repeat_last_pair = _rearrange([6, 7] * 4)
repeat_last = _rearrange([7] * 8)


def _lane(place: int) -> Any:
    @intrinsic
    def lane(typingctx, a):
        def lower(context, builder, signature, args):
            return builder.sext(builder.extract_element(args[0], ir.Constant(I32, place)), I64)

        return types.int64(a), lower

    return lane


lane_0, lane_1, lane_2, lane_3, lane_4, lane_5, lane_6, lane_7 = (_lane(n) for n in range(8))


def _as(lanes: Lanes) -> Any:
    """Operation that sees a register as other lanes."""

    @intrinsic
    def see(typingctx, a):
        vector = _vector(lanes.bits, lanes.count)
        return lanes(a), lambda context, builder, signature, args: builder.bitcast(args[0], vector)

    return see


as_16_bits, as_32_bits = _as(INT16X16), _as(INT32X8)


@intrinsic
def alternate_16x8(typingctx, even, odd):
    """Two numbers, each truncated to 16 bits, in turns."""

    def lower(context, builder, signature, args):
        lanes = ir.Constant(_vector(16, 8), ir.Undefined)
        for place, value in enumerate(args):
            low = builder.trunc(value, I16)
            lanes = builder.insert_element(lanes, low, ir.Constant(I32, place))
        return builder.shuffle_vector(lanes, lanes, _constant(_vector(32, 8), [0, 1] * 4))

    return INT16X8(types.int64, types.int64), lower


@intrinsic
def fill_32x8(typingctx, value):
    """One number, truncated to 32 bits, in all lanes."""

    def lower(context, builder, signature, args):
        lanes = ir.Constant(_vector(32, 8), ir.Undefined)
        lanes = builder.insert_element(lanes, builder.trunc(args[0], I32), ir.Constant(I32, 0))
        return builder.shuffle_vector(lanes, lanes, _constant(_vector(32, 8), [0] * 8))

    return INT32X8(types.int64), lower


@intrinsic
def subtract_48(typingctx, a):
    """Subtract 48 from each byte."""

    def lower(context, builder, signature, args):
        chars = builder.bitcast(args[0], _vector(8, 16))
        groups = builder.sub(chars, _constant(_vector(8, 16), [48] * 16))
        return builder.bitcast(groups, _vector(16, 8))

    return INT16X8(a), lower


@intrinsic
def pick_bytes(typingctx, a, order):
    """Byte n of the result is byte ``order[n]`` of a, or 0 where ``order[n]`` >= 128."""

    def lower(context, builder, signature, args):
        vector = _vector(8, 16)
        source, places = (builder.bitcast(arg, vector) for arg in args)
        if "+ssse3" in _features(context):
            name = "llvm.x86.ssse3.pshuf.b.128"
            picked = builder.call(_declared(builder, name, vector, [vector] * 2), [source, places])
            return builder.bitcast(picked, _vector(16, 8))
        picked = _constant(vector, [0] * 16)
        for n in range(16):
            place = builder.extract_element(places, ir.Constant(I32, n))
            byte = builder.extract_element(source, builder.and_(place, ir.Constant(I8, 15)))
            is_set = builder.icmp_signed(">=", place, ir.Constant(I8, 0))
            byte = builder.select(is_set, byte, ir.Constant(I8, 0))
            picked = builder.insert_element(picked, byte, ir.Constant(I32, n))
        return builder.bitcast(picked, _vector(16, 8))

    return INT16X8(a, order), lower


@intrinsic
def add_neighbours(typingctx, a):
    """Add lanes 2n and 2n + 1 of int16 lanes to int32 lane n."""
    half = Lanes(a.count // 2, 32)
    names = {
        8: ("+sse2", "llvm.x86.sse2.pmadd.wd"),
        16: ("+avx2", "llvm.x86.avx2.pmadd.wd"),
    }

    def lower(context, builder, signature, args):
        wide = _vector(32, half.count)
        feature, name = names[a.count]
        if feature in _features(context):
            ones = _constant(args[0].type, [1] * a.count)
            function = _declared(builder, name, wide, [args[0].type] * 2)
            return builder.call(function, [args[0], ones])
        pairs = builder.bitcast(args[0], wide)
        sixteen = _constant(wide, [16] * half.count)
        low = builder.ashr(builder.shl(pairs, sixteen), sixteen)
        return builder.add(low, builder.ashr(pairs, sixteen))

    return half(a), lower


@intrinsic
def total(typingctx, a):
    """Sum of all int32 lanes, as an unsigned 32-bit number."""

    def lower(context, builder, signature, args):
        name = f"llvm.vector.reduce.add.v{a.count}i32"
        return builder.zext(builder.call(_declared(builder, name, I32, [args[0].type]), args), I64)

    return types.int64(a), lower


@intrinsic
def any_bit(typingctx, a):
    """Whether a bit of any lane is set."""

    def lower(context, builder, signature, args):
        whole = ir.IntType(a.count * a.bits)
        bits = builder.bitcast(args[0], whole)
        return builder.icmp_unsigned("!=", bits, ir.Constant(whole, 0))

    return types.boolean(a), lower


@intrinsic
def not_less_bits(typingctx, a, b):
    """Compare lanes by a >= b: bit n for lane n."""

    def lower(context, builder, signature, args):
        bits = builder.bitcast(builder.icmp_signed(">=", *args), ir.IntType(a.count))
        return builder.zext(bits, I64)

    return types.uint64(a, b), lower


@intrinsic
def trailing_zeros(typingctx, word):
    """Place of the lowest bit that is set; 64 where none is."""

    def lower(context, builder, signature, args):
        function = _declared(builder, "llvm.cttz.i64", I64, [I64, BIT])
        return builder.call(function, [args[0], ir.Constant(BIT, 0)])

    return types.int64(types.uint64), lower
