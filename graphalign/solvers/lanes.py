"""Rows of 16 numbers as one vector each, for compiled functions. Importing this file imports numba.

Compilers leave most loops over so few numbers scalar, with branches that no processor predicts. Here a row is loaded,
compared and reduced as a whole, and a set of columns is the bits of an integer. LLVM maps a vector to the registers
that the machine has.

Arguments `x, i` mean row i of a contiguous array `(rows, 16)` of float64, which may be infinite but not NaN; `places`
is one of int64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16

NUMBER, WHOLE, PLACE = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
NUMBERS, WHOLES = ir.VectorType(NUMBER, LANES), ir.VectorType(WHOLE, LANES)
# Flags on the selection itself: without them a loop over floating numbers stays scalar.
FLAGS = ("nnan", "nsz")
Operation = Callable[[Any, Any, Any], Any]


def _max(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, y, flags=FLAGS), x, y, flags=FLAGS)


def _min(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", x, y, flags=FLAGS), x, y, flags=FLAGS)


def _larger(typing_context: Any, x: Any, y: Any) -> Any:
    """The larger of two numbers of one type, neither of them NaN."""
    return x(x, x), lambda context, builder, signature, arguments: _max(builder, *arguments)


def _highest(typing_context: Any, x: Any, i: Any) -> Any:
    """Return the highest number of `x, i`, and its first column."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row = builder.load(_pointer(context, builder, signature, arguments, 0, 1), align=8)
        best = _reduced(builder, row, _max)
        first = _lowest_bit(builder, _places(builder, row, best))
        return context.make_tuple(builder, signature.return_type, [best, first])

    return types.containers.Tuple((types.float64, types.int64))(x, types.int64), emit


def _highest_net(typing_context: Any, x: Any, i: Any, price: Any) -> Any:
    """Return the highest number of `x, i` less `x, price`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _reduced(builder, _net(context, builder, signature, arguments), _max)

    return types.float64(x, types.int64, types.int64), emit


def _top_two(typing_context: Any, x: Any, i: Any, price: Any) -> Any:
    """Return the two highest numbers of `x, i` less `x, price`, and the sets of columns that have them."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        net = _net(context, builder, signature, arguments)
        left, right = _halves(builder, net)
        first, second = _max(builder, left, right), _min(builder, left, right)
        while first.type.count > 1:
            (a, b), (c, d) = _halves(builder, first), _halves(builder, second)
            first = _max(builder, a, b)
            second = _max(builder, _min(builder, a, b), _max(builder, c, d))
        two = [builder.extract_element(x, PLACE(0)) for x in (first, second)]
        sets = [_places(builder, net, x) for x in two]
        return context.make_tuple(builder, signature.return_type, two + sets)

    found = types.containers.Tuple((types.float64, types.float64, types.int64, types.int64))
    return found(x, types.int64, types.int64), emit


def _make_offers(typing_context: Any, x: Any, i: Any, price: Any, top: Any, places: Any, buyer: Any) -> Any:
    """Where `x, i` less `top` is above `x, price`, it becomes the price, and i the number in `places, buyer`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row, prices = (builder.load(_pointer(context, builder, signature, arguments, 0, k), align=8) for k in (1, 2))
        offer = builder.fsub(row, _all(builder, arguments[3], NUMBERS))
        above = builder.fcmp_ordered(">", offer, prices, flags=FLAGS)
        _choose(builder, above, offer, _pointer(context, builder, signature, arguments, 0, 2))
        itself = _all(builder, arguments[1], WHOLES)
        _choose(builder, above, itself, _pointer(context, builder, signature, arguments, 4, 5))
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64, types.float64, places, types.int64), emit


def _relax(
    typing_context: Any, x: Any, i: Any, price: Any, distance: Any, base: Any, passed: Any, places: Any, parent: Any
) -> Any:
    """Shorten `x, distance` by way of row i to columns not passed, and write i to `places, parent` of these.

    Returns the least distance, and the set of columns at it.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        net, distances = (
            _net(context, builder, signature, arguments),
            _pointer(context, builder, signature, arguments, 0, 3),
        )
        through = builder.fsub(_all(builder, arguments[4], NUMBERS), net)
        passed = _mask(builder, arguments[5])
        nearer = builder.fcmp_ordered("<", through, builder.load(distances, align=8), flags=FLAGS)
        nearer = builder.and_(nearer, builder.not_(passed))
        new = _choose(builder, nearer, through, distances)
        itself = _all(builder, arguments[1], WHOLES)
        _choose(builder, nearer, itself, _pointer(context, builder, signature, arguments, 6, 7))
        ahead = builder.select(passed, ir.Constant(NUMBERS, [NUMBER(float("inf"))] * LANES), new)
        nearest = _reduced(builder, ahead, _min)
        return context.make_tuple(builder, signature.return_type, [nearest, _places(builder, ahead, nearest)])

    found, whole = types.containers.Tuple((types.float64, types.int64)), types.int64
    return found(x, whole, whole, whole, types.float64, whole, places, whole), emit


def _raise_prices(typing_context: Any, x: Any, price: Any, distance: Any, nearest: Any, passed: Any) -> Any:
    """Add to `x, price` of the columns passed how much less than `nearest` their `x, distance` is."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        prices, distances = (_pointer(context, builder, signature, arguments, 0, k) for k in (1, 2))
        nearer = builder.fsub(_all(builder, arguments[3], NUMBERS), builder.load(distances, align=8))
        _choose(builder, _mask(builder, arguments[4]), builder.fadd(builder.load(prices, align=8), nearer), prices)
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64, types.float64, types.int64), emit


def _first_of(typing_context: Any, columns: Any) -> Any:
    """The first column of a set that is not empty."""
    return types.int64(types.int64), lambda context, builder, signature, arguments: _lowest_bit(builder, arguments[0])


larger = intrinsic(_larger)
highest = intrinsic(_highest)
highest_net = intrinsic(_highest_net)
top_two = intrinsic(_top_two)
make_offers = intrinsic(_make_offers)
relax = intrinsic(_relax)
raise_prices = intrinsic(_raise_prices)
first_of = intrinsic(_first_of)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, array: int, row: int) -> Any:
    """Where the vector begins that two arguments mean."""
    kind = signature.args[array]
    start = context.make_array(kind)(context, builder, arguments[array]).data
    start = builder.gep(start, [builder.mul(arguments[row], WHOLE(LANES))])
    return builder.bitcast(start, (NUMBERS if kind.dtype == types.float64 else WHOLES).as_pointer())


def _choose(builder: Any, lanes: Any, x: Any, pointer: Any) -> Any:
    """Write x there in these lanes; return what then is there."""
    new = builder.select(lanes, x, builder.load(pointer, align=8))
    builder.store(new, pointer, align=8)
    return new


def _net(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Row i less the prices, of the arguments `x, i, price`."""
    row, prices = (builder.load(_pointer(context, builder, signature, arguments, 0, k), align=8) for k in (1, 2))
    return builder.fsub(row, prices)


def _all(builder: Any, x: Any, kind: Any) -> Any:
    """The number in every lane."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, x, PLACE(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(PLACE, LANES), [PLACE(0)] * LANES))


def _halves(builder: Any, x: Any) -> tuple[Any, Any]:
    half = x.type.count // 2
    places = ([PLACE(first + k) for k in range(half)] for first in (0, half))
    nothing, kind = ir.Constant(x.type, ir.Undefined), ir.VectorType(PLACE, half)
    left, right = (builder.shuffle_vector(x, nothing, ir.Constant(kind, chosen)) for chosen in places)
    return left, right


def _reduced(builder: Any, x: Any, operation: Operation) -> Any:
    while x.type.count > 1:
        x = operation(builder, *_halves(builder, x))
    return builder.extract_element(x, PLACE(0))


def _places(builder: Any, x: Any, wanted: Any) -> Any:
    """The set of columns that have the number."""
    equal = builder.fcmp_ordered("==", x, _all(builder, wanted, NUMBERS))
    return builder.zext(builder.bitcast(equal, ir.IntType(LANES)), WHOLE)


def _mask(builder: Any, columns: Any) -> Any:
    """Of a set: in which lanes there is a column."""
    return builder.bitcast(builder.trunc(columns, ir.IntType(LANES)), ir.VectorType(ir.IntType(1), LANES))


def _lowest_bit(builder: Any, columns: Any) -> Any:
    return builder.cttz(columns, ir.Constant(ir.IntType(1), 1))
