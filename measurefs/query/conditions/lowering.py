"""From an Arrow expression to conditions on rows: one for each of what its outermost ``and`` joins."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError
from measurefs.query.conditions.expressions import (
    AND,
    OR,
    Call,
    Field,
    Form,
    Literal,
    Node,
    columns_of,
    evaluate,
    operands,
)
from measurefs.query.conditions.predicates import Arrays, Mask, Predicate, true_rows
from measurefs.query.conditions.pruning import (
    UNKNOWN,
    Among,
    And,
    Bounds,
    Compare,
    Constant,
    IsNull,
    IsTrue,
    Not,
    Or,
    Strict,
)
from measurefs.query.names import TIME, TIME_TYPE, VERSION, check_names

Kinds: TypeAlias = "Mapping[str, ColumnType]"

_COMPARISONS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_STRICT = frozenset(
    {
        *("starts_with", "ends_with", "match_substring", "match_substring_regex", "match_like"),
        *("is_nan", "is_inf", "is_finite"),
    }
)
"""Functions of a column that are null where it is."""

_DEEPEST = 100
_MATCHES_NULL, _SKIPS_NULL = 0, 1


def lower(expression: pc.Expression, entity: Kinds, columns: Kinds) -> Iterator[Predicate]:
    """Yield the conditions that are all true where the expression is.

    Raises
    ------
    SchemaError
        It names unknown columns, is neither true nor false, or Arrow refuses it for another reason.
    """
    kinds = {TIME: ColumnType.INT64, **entity, **columns, VERSION: ColumnType.INT64}
    types = {name: kind.arrow for name, kind in kinds.items()} | {TIME: TIME_TYPE}
    form = Form(expression)
    _check(expression, form.root, types)
    if form.root is None:
        yield Predicate(types, _tester(expression, lambda: expression, types))
        return
    for node in operands(form.root, AND):
        names = set(columns_of(node))
        used = {name: kind for name, kind in types.items() if name in names}
        bounds = _bounds(node, kinds)
        part = functools.cache(functools.partial(form.part, node))
        yield Predicate(used, _tester(expression, part, used), bounds, _values(node, types))


def _check(expression: pc.Expression, root: Node | None, types: Mapping[str, pa.DataType]) -> None:
    """Let Arrow check it, as it does on the way to filtering nothing."""
    try:
        pa.Table.from_batches([], pa.schema(types)).filter(expression)
    except pa.ArrowException as error:
        names = [] if root is None else list(dict.fromkeys(columns_of(root)))
        check_names(names, types, f"cannot use {expression} as where: it")
        raise _refusal(expression, error) from error


def _refusal(expression: pc.Expression, error: pa.ArrowException) -> SchemaError:
    return SchemaError(f"cannot use {expression} as where: {error}")


def _tester(
    whole: pc.Expression, part: Callable[[], pc.Expression], types: Mapping[str, pa.DataType]
) -> Callable[[Arrays, int], Mask]:
    def test(columns: Arrays, count: int) -> Mask:
        given = columns if types else {"": pa.nulls(count)}
        try:
            return true_rows(evaluate(part(), pa.table(given)))
        except pa.ArrowException as error:
            raise _refusal(whole, error) from error

    return test


def _bounds(node: Node, kinds: Kinds, depth: int = 0) -> Bounds:
    """Return what statistics can be asked about a condition."""
    if isinstance(node, Literal):
        value = node.value[0].as_py()
        return Constant(value) if value is None or isinstance(value, bool) else UNKNOWN
    if isinstance(node, Field):
        return UNKNOWN if node.nested else IsTrue(node.name)
    return UNKNOWN if depth > _DEEPEST else _of_call(node, kinds, depth)


def _of_call(node: Call, kinds: Kinds, depth: int) -> Bounds:
    if node.function in AND:
        return And([_bounds(each, kinds, depth + 1) for each in operands(node, AND)])
    if node.function in OR:
        return Or([_bounds(each, kinds, depth + 1) for each in operands(node, OR)])
    if node.function == "invert":
        return Not(_bounds(node.operands[0], kinds, depth + 1))
    if node.function in _COMPARISONS:
        return _comparison(node, kinds)
    field = _only_field(node)
    return UNKNOWN if field is None else _of_field(node, field, kinds)


def _only_field(node: Call) -> str | None:
    """Return the column that a function is of, where that is all it is of."""
    if len(node.operands) == 1 and isinstance(node.operands[0], Field) and not node.operands[0].nested:
        return node.operands[0].name
    return None


def _of_field(node: Call, name: str, kinds: Kinds) -> Bounds:
    """Return the bounds of a function of a column, such as whether it is null."""
    if node.function in _STRICT:
        return Strict(name)
    if node.function == "is_valid":
        return Not(IsNull(name))
    if node.function == "is_null":
        nan = (
            node.options is None
            or "nan_is_null" not in node.options
            or node.options["nan_is_null"][0].as_py()
        )
        return IsNull(name, nan)
    if node.function != "is_in":
        return UNKNOWN
    looked_up = _looked_up(node)
    if looked_up is None:
        return UNKNOWN
    values, null = looked_up
    return Among(name, _numbers(values, name, kinds[name]), null)


def _looked_up(node: Call) -> tuple[pa.Array, bool] | None:
    """Return the values that ``is_in`` looks for, without null, and whether it finds null; None if unclear."""
    options = node.options or {}
    if not {"value_set", "null_matching_behavior"} <= options.keys():
        return None
    values = options["value_set"][0].values
    behavior = options["null_matching_behavior"][0].as_py()
    if behavior not in {_MATCHES_NULL, _SKIPS_NULL} or not isinstance(values, pa.Array):
        return None
    return values.drop_null(), behavior == _MATCHES_NULL and values.null_count > 0


def _sides(node: Call) -> tuple[str, str, pa.Array] | None:
    """Return a comparison's column, operator and value, with the column to the left; None if it is of others."""
    operator = _COMPARISONS[node.function]
    match node.operands:
        case (Field(name=name, nested=False), Literal(value=value)):
            return name, operator, value
        case (Literal(value=value), Field(name=name, nested=False)):
            return name, _FLIPPED[operator], value
    return None


def _comparison(node: Call, kinds: Kinds) -> Bounds:
    sides = _sides(node)
    if sides is None:
        return UNKNOWN
    name, operator, value = sides
    if value.null_count:
        return Constant(None)
    numbers = _numbers(value, name, kinds[name])
    return Strict(name) if numbers is None else Compare(name, operator, numbers[0].item())


def _numbers(values: pa.Array, name: str, kind: ColumnType) -> np.ndarray | None:
    """Return literals that a number column is compared with as the numbers they stand for; None if they are others.

    Where Arrow compares an integer with a float it casts one of the two, and refuses to if that changes it.
    """
    if not kind.is_number or pa.types.is_boolean(values.type) != (kind is ColumnType.BOOL):
        return None
    try:
        if name == TIME:
            return np.asarray(values.cast(TIME_TYPE).cast(pa.int64())) if _is_instant(values.type) else None
        if pa.types.is_boolean(values.type) or pa.types.is_integer(values.type):
            return np.asarray(values.cast(pa.int64()))
        return np.asarray(values.cast(pa.float64())) if pa.types.is_floating(values.type) else None
    except pa.ArrowException:
        return None


def _is_instant(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _values(node: Node, types: Mapping[str, pa.DataType], depth: int = 0) -> dict[str, pa.Array]:
    """Return all values, but null, that a column can have where a condition is true; for which that is known."""
    if not isinstance(node, Call) or depth > _DEEPEST:
        return {}
    if node.function == "equal":
        sides = _sides(node)
        return {} if sides is None else _cast(sides[0], sides[2].drop_null(), types)
    if node.function == "is_in":
        name, looked_up = _only_field(node), _looked_up(node)
        return {} if name is None or looked_up is None else _cast(name, looked_up[0], types)
    if node.function in OR:
        found = [_values(each, types, depth + 1) for each in operands(node, OR)]
        shared = set.intersection(*(set(each) for each in found))
        return {name: pa.concat_arrays([each[name] for each in found]) for name in shared}
    if node.function in AND:
        return {
            name: array
            for each in operands(node, AND)
            for name, array in _values(each, types, depth + 1).items()
        }
    return {}


def _cast(name: str, values: pa.Array, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """Return the values in the column's type if they are of one that says the same."""
    kind = types[name]
    if values.type != kind and not any(ours(kind) and theirs(values.type) for ours, theirs in _SAME):
        return {}
    try:
        return {name: values.cast(kind)}
    except pa.ArrowException:
        return {}


_SAME = (
    (pa.types.is_integer, pa.types.is_integer),
    (pa.types.is_string, pa.types.is_large_string),
    (pa.types.is_binary, pa.types.is_string),
    (pa.types.is_binary, pa.types.is_large_binary),
)
"""Types of columns, and of values that are equal to theirs exactly where they are once they are cast."""
