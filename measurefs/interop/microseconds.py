"""Conditions on times of which only the microseconds are seen, put in terms of the nanoseconds that are stored."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from measurefs.query.conditions.expressions import (
    AND,
    OR,
    Call,
    Field,
    Form,
    Literal,
    Node,
    columns_of,
    operands,
)
from measurefs.query.names import TIME, TIME_TYPE

MICROSECONDS = pa.timestamp("us", tz="UTC")
_FLIPPED = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}
_LEAST, _GREATEST = -(2**63), 2**63 - 1


def split(expression: pc.Expression) -> tuple[pc.Expression | None, pc.Expression | None]:
    """Divide a condition on rows with times in microseconds.

    Returns
    -------
    expression or None
        What can be said of rows with their times in nanoseconds, and is true of exactly the same rows.
    expression or None
        What is left to judge when times are in microseconds. Both must be true.
    """
    form = Form(expression)
    if form.root is None:
        return None, expression
    here: list[pc.Expression] = []
    left: list[pc.Expression] = []
    for node in operands(form.root, AND):
        found = _rewritten(node, form)
        if found is None:
            left.append(form.part(node))
        else:
            here.append(found)
    return _joined(here), _joined(left)


def _joined(parts: Sequence[pc.Expression]) -> pc.Expression | None:
    return functools.reduce(operator.and_, parts) if parts else None


def _rewritten(node: Node, form: Form) -> pc.Expression | None:
    """Return a condition in terms of nanoseconds, None where that is not known."""
    if TIME not in columns_of(node):
        return form.part(node)
    if not isinstance(node, Call):
        return None
    if node.function in AND | OR:
        parts = [_rewritten(each, form) for each in node.operands]
        if any(part is None for part in parts):
            return None
        return functools.reduce(operator.and_ if node.function in AND else operator.or_, parts)
    if node.function == "invert":
        part = _rewritten(node.operands[0], form)
        return None if part is None else ~part
    return _comparison(node)


def _comparison(node: Call) -> pc.Expression | None:
    """Return a comparison of the time with a whole number of microseconds; None if it is another function."""
    match node.operands:
        case (Field(name="time", nested=False), Literal(value=value)):
            function = node.function
        case (Literal(value=value), Field(name="time", nested=False)):
            function = _FLIPPED.get(node.function, node.function)
        case _:
            return None
    microsecond = _microsecond(value)
    if microsecond is None:
        return None
    following = microsecond + 1
    return {
        "greater_equal": _from(microsecond),
        "greater": _from(following),
        "less": _before(microsecond),
        "less_equal": _before(following),
        "equal": _from(microsecond) & _before(following),
        "not_equal": _before(microsecond) | _from(following),
    }.get(function)


def _microsecond(value: pa.Array) -> int | None:
    if not pa.types.is_timestamp(value.type) or value.type.tz is None or value.null_count:
        return None
    try:
        found = value.cast(MICROSECONDS).cast(pa.int64())
    except pa.ArrowInvalid:  # it has nanoseconds
        return None
    return int(found[0].as_py())


def _from(microsecond: int) -> pc.Expression:
    """Return the condition that a time is this or later."""
    return (
        pc.scalar(microsecond * 1000 <= _LEAST)
        if _is_beyond(microsecond)
        else pc.field(TIME) >= _scalar(microsecond)
    )


def _before(microsecond: int) -> pc.Expression:
    """Return the condition that a time is earlier."""
    return (
        pc.scalar(microsecond * 1000 > _LEAST)
        if _is_beyond(microsecond)
        else pc.field(TIME) < _scalar(microsecond)
    )


def _is_beyond(microsecond: int) -> bool:
    return not _LEAST <= microsecond * 1000 <= _GREATEST


def _scalar(microsecond: int) -> pa.Scalar:
    return pa.scalar(microsecond * 1000, pa.int64()).cast(TIME_TYPE)
