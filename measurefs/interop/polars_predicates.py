"""What a Polars predicate asks of rows, as far as it can be said in an Arrow expression.

A predicate is taken apart by the form in which Polars writes it as JSON. That form is Polars' own affair: what is not
known of it here is left out, and Polars judges it anyway. Nothing is left out of the rows that it would want.
"""

from __future__ import annotations

import functools
import io
import json
import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Tree: TypeAlias = Any

_COMPARISONS = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtEq": operator.le,
    "Gt": operator.gt,
    "GtEq": operator.ge,
}
_FLIPPED = {"Eq": "Eq", "NotEq": "NotEq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_BOUNDS = {"Both": ("GtEq", "LtEq"), "Left": ("GtEq", "Lt"), "Right": ("Gt", "LtEq"), "None": ("Gt", "Lt")}
_FAMILIES = (
    (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    (pa.types.is_integer,),
    (pa.types.is_floating,),
    (pa.types.is_boolean,),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None,),
)


def conjuncts(predicate: pl.Expr) -> list[pl.Expr]:
    """Return what must all be true, without the hints that Polars' optimizer adds while it runs.

    Such a hint (a "dynamic predicate") only spares work, and stands for nothing that could be evaluated.
    """
    tree = json.loads(predicate.meta.serialize(format="json"))
    found = []
    waiting = [tree]
    while waiting:
        match waiting.pop():
            case {"BinaryExpr": {"left": left, "op": "And", "right": right}}:
                waiting += [right, left]
            case {"Display": {"fmt_str": str(text)}} if text.startswith("dynamic_pred"):
                pass
            case term:
                found.append(term)
    return [predicate] if found == [tree] else [_expression(term) for term in found]


def lower(terms: Sequence[pl.Expr], schema: pa.Schema) -> pc.Expression | None:
    """Return a condition that is true of all rows of which the terms are, and perhaps of more; None says nothing."""
    trees = (json.loads(term.meta.serialize(format="json")) for term in terms)
    found = [each for tree in trees if (each := _lowered(tree, schema)) is not None]
    return functools.reduce(operator.and_, found) if found else None


def _expression(tree: Tree) -> pl.Expr:
    return pl.Expr.deserialize(io.BytesIO(json.dumps(tree).encode()), format="json")


def _lowered(tree: Tree, schema: pa.Schema) -> pc.Expression | None:
    match tree:
        case {"BinaryExpr": {"left": left, "op": "And" | "Or" as op, "right": right}}:
            both = [_lowered(each, schema) for each in (left, right)]
            return _joined(op, [each for each in both if each is not None])
        case {"BinaryExpr": {"left": {"Column": name}, "op": op, "right": {"Literal": _} as literal}}:
            return _compared(name, op, literal, schema)
        case {"BinaryExpr": {"left": {"Literal": _} as literal, "op": op, "right": {"Column": name}}}:
            return _compared(name, _FLIPPED.get(op, ""), literal, schema)
        case {"Function": {"input": [{"Column": name}, *literals], "function": function}}:
            return _judged(name, function, literals, schema)
        case {"Column": name} if pa.types.is_boolean(schema.field(name).type):
            return pc.field(name)
    return None


def _joined(op: str, known: Sequence[pc.Expression]) -> pc.Expression | None:
    """Join what is known of two sides: one side of an "and" is better than nothing."""
    if len(known) < (2 if op == "Or" else 1):
        return None
    return functools.reduce(operator.or_ if op == "Or" else operator.and_, known)


def _judged(name: str, function: Any, literals: Sequence[Tree], schema: pa.Schema) -> pc.Expression | None:
    """Return what a function of a column and of constants that is true or false says."""
    kind, found = schema.field(name).type, None
    match function:
        case {"Boolean": "IsNull"}:
            found = pc.field(name).is_null()
        case {"Boolean": "IsNotNull"}:
            found = pc.field(name).is_valid()
        case {"Boolean": {"IsBetween": {"closed": str(closed)}}}:
            pairs = zip(_BOUNDS[closed], literals, strict=True)
            low, high = (_compared(name, op, literal, schema) for op, literal in pairs)
            found = None if low is None or high is None else low & high
        case {"Boolean": {"IsIn": _}} if not pa.types.is_floating(kind):
            values = _values(literals[0], kind)
            found = None if values is None else pc.field(name).isin(values)
        case {"StringExpr": "StartsWith"}:
            values = _values(literals[0], kind)
            found = None if values is None else pc.starts_with(pc.field(name), pattern=values[0].as_py())
    return found


def _compared(name: str, op: str, literal: Tree, schema: pa.Schema) -> pc.Expression | None:
    values = _values(literal, schema.field(name).type)
    if op not in _COMPARISONS or values is None or len(values) != 1:
        return None
    found = _COMPARISONS[op](pc.field(name), values[0])
    if not pa.types.is_floating(values.type):
        return found
    if math.isnan(values[0].as_py()):
        return None
    # To Polars NaN is greater than any number.
    return found | pc.is_nan(pc.field(name)) if op in ("Gt", "GtEq") else found


def _values(literal: Tree, kind: pa.DataType) -> pa.Array | None:
    """Return a constant, or the values of a list, in a column's type; None if it is of another, or null."""
    try:
        array = pl.select(_expression(literal)).to_series().to_arrow()
    except pl.exceptions.PolarsError:
        return None
    if pa.types.is_large_list(array.type) or pa.types.is_list(array.type):
        array = array.flatten()
    same = any(
        any(test(array.type) for test in tests) and any(test(kind) for test in tests) for tests in _FAMILIES
    )
    if not same or array.null_count:
        return None
    try:
        return array.cast(kind)
    except pa.ArrowInvalid:
        return None
