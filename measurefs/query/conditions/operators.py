"""Conditions as dicts give them: a value, several, a pattern, or operators with what they compare with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.memory import one_text
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError
from measurefs.query.bounds import to_nanoseconds
from measurefs.query.conditions.predicates import Predicate, of_column
from measurefs.query.conditions.pruning import Among, And, Bounds, Compare, IsNull, Not, Or, Strict
from measurefs.query.names import TIME, TIME_TYPE, check_names

_ORDERINGS: Mapping[str, Callable[[pa.Array, pa.Scalar], pa.Array]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_SCALARS = ("==", "!=", *_ORDERINGS, "in", "not_in", "null")
_OF_KIND: Mapping[ColumnType, tuple[str, ...]] = dict.fromkeys(ColumnType, _SCALARS) | {
    ColumnType.STRING: (*_SCALARS, "prefix", "regex"),
    ColumnType.BINARY: (*_SCALARS, "prefix", "regex"),
    ColumnType.STRING_LIST: ("contains", "all", "null"),
    ColumnType.INT64_LIST: ("contains", "all", "null"),
}
OPERATORS = tuple(dict.fromkeys(name for names in _OF_KIND.values() for name in names))
"""All there are."""


def conditions(name: str, kind: ColumnType, given: Any) -> list[Predicate]:
    """Return what a dict says of one column.

    Parameters
    ----------
    name : str
        The column.
    kind : ColumnType
        Its type; int64 for the time.
    given : object
        A value or None, an iterable of them (any of which is wanted), a compiled regular expression, or a mapping
        of operators to what they compare with, all of which must hold.

    Raises
    ------
    SchemaError
        The operator is unknown or not one for the type, or what it compares with is of another type.
    """
    column = _Column(name, kind)
    if isinstance(given, Mapping):
        if not given:
            raise SchemaError(f"where gives {name!r} an empty dict; give operators, such as {{'>=': 1}}")
        check_names(given, OPERATORS, f"where, for the column {name!r},", "operator")
        return [column.compared(operator, operand) for operator, operand in given.items()]
    if isinstance(given, re.Pattern):
        return [column.compared("regex", given)]
    return [column.among(given)]


class _Column:
    """A column, and the conditions that there can be on it."""

    def __init__(self, name: str, kind: ColumnType) -> None:
        self.name = name
        self.kind = kind
        self.type = TIME_TYPE if name == TIME else kind.arrow

    def compared(self, operator: str, operand: Any) -> Predicate:
        if operator not in _OF_KIND[self.kind]:
            allowed = ", ".join(_OF_KIND[self.kind])
            raise SchemaError(
                f"where cannot use {operator!r} on {self.name!r}, which is {self.kind.value}, with {operand!r}; "
                f"there are {allowed}"
            )
        if operator in _ORDERINGS:
            return self._ordered(operator, operand)
        return _MAKERS[operator](self, operand)

    def among(self, given: Any) -> Predicate:
        """Be one of several values, or null if None is among them; a list must hold one of them."""
        if self.kind.element is not None:
            return self._holding_any(given)
        return self._among(self._values(given))

    def _among(self, values: pa.Array) -> Predicate:
        bounds = Among(self.name, self._numbers(values), values.null_count > 0)
        return of_column(self.name, self.type, lambda column: _is_in(column, values), bounds, values)

    def equal(self, given: Any) -> Predicate:
        """Be this value."""
        return self._among(self._one("==", given))

    def unequal(self, given: Any) -> Predicate:
        """Be another value; null is none."""
        return self._not_among(self._one("!=", given))

    def not_among(self, given: Any) -> Predicate:
        """Be none of several values; null is none."""
        return self._not_among(self._values(given).drop_null())

    def _not_among(self, values: pa.Array) -> Predicate:
        there = Not(IsNull(self.name))
        bounds = And([there, Not(Among(self.name, self._numbers(values), False))])
        return self._of(lambda column: pc.and_not(column.is_valid(), _is_in(column, values)), bounds)

    def _ordered(self, operator: str, operand: Any) -> Predicate:
        values = self._one(operator, operand)
        value, numbers = values[0], self._numbers(values)
        bounds: Bounds = Strict(self.name)
        if numbers is not None:
            bounds = Compare(self.name, operator, numbers[0].item())
        compare = _ORDERINGS[operator]
        return self._of(lambda column: compare(column, value), bounds)

    def null(self, wanted: Any) -> Predicate:
        """Be null, or not."""
        if not isinstance(wanted, bool):
            raise SchemaError(f"where, for {self.name!r}: 'null' takes True or False, not {wanted!r}")
        if wanted:
            return self._of(pc.is_null, IsNull(self.name))
        return self._of(pc.is_valid, Not(IsNull(self.name)))

    def prefix(self, given: Any) -> Predicate:
        """Begin with this."""
        return self._matching("prefix", given, pc.starts_with)

    def regex(self, given: Any) -> Predicate:
        """Have something in it that matches a pattern, in the syntax of RE2, which is Arrow's."""
        return self._matching("regex", given, pc.match_substring_regex)

    def _matching(self, operator: str, operand: Any, match: Callable[[pa.Array, Any], pa.Array]) -> Predicate:
        pattern = _inlined(self.name, operand) if isinstance(operand, re.Pattern) else operand
        if not isinstance(pattern, str if self.kind is ColumnType.STRING else bytes):
            raise self._mismatch(operand, f"{operator!r} takes text of that type")
        try:
            match(pa.array([""], self.type), pattern)
        except (pa.ArrowException, ValueError) as error:
            raise SchemaError(
                f"where cannot use {operand!r} as {operator!r} of {self.name!r}: {error}"
            ) from error
        return self._of(lambda column: match(column, pattern), Strict(self.name))

    def holding(self, given: Any) -> Predicate:
        """Be a list that holds one of several elements."""
        return self._holding_any(self._elements(given))

    def holding_all(self, given: Any) -> Predicate:
        """Be a list that holds all of several elements."""
        elements = self._elements(given)

        def test(column: pa.Array) -> pa.Array:
            found = column.is_valid()
            for place in range(len(elements)):
                found = pc.and_(found, _holding(column, elements.slice(place, 1)))
            return found

        return self._of(test, Strict(self.name))

    def _holding_any(self, given: Any) -> Predicate:
        values = self._values(given)
        elements, null = values.drop_null(), values.null_count > 0

        def test(column: pa.Array) -> pa.Array:
            found = _holding(column, elements)
            return pc.or_kleene(found, column.is_null()) if null else found

        bounds: Bounds = Strict(self.name)
        return self._of(test, Or([bounds, IsNull(self.name)]) if null else bounds)

    def _elements(self, given: Any) -> pa.Array:
        values = self._values(given)
        if values.null_count:
            raise SchemaError(
                f"where looks for None in the lists of {self.name!r}, which is not found; "
                "give 'null': True for lists that are null themselves"
            )
        return values

    def _of(self, test: Callable[[pa.Array], pa.Array], bounds: Bounds) -> Predicate:
        return of_column(self.name, self.type, test, bounds)

    def _one(self, operator: str, operand: Any) -> pa.Array:
        """Return the one value that an operator compares with, which cannot be null."""
        if _is_many(operand):
            raise self._mismatch(operand, f"{operator!r} takes one value")
        values = self._values([operand])
        if values.null_count:
            raise SchemaError(
                f"where compares {self.name!r} with None by {operator!r}, which is never true; "
                "give 'null': True or 'null': False"
            )
        return values

    def _values(self, given: Any) -> pa.Array:
        """Return what is given, one value or several, in the column's type, or in that of its lists' elements."""
        if self.name == TIME:
            return pa.array([_instant(value) for value in _several(given)], pa.int64()).view(TIME_TYPE)
        kind = self.kind.element or self.kind
        try:
            if kind is ColumnType.STRING and isinstance(given, str):
                return one_text(given)  # what is asked for most often, at once
            values = pa.array(_several(given))
            if kind is ColumnType.INT64 and pa.types.is_floating(values.type):
                return values.cast(kind.arrow)  # 2.0 is 2, but 1.5 is refused instead of becoming 1
            return values if values.type == kind.arrow else pa.array(values.to_pylist(), kind.arrow)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise self._mismatch(given, str(error)) from error

    def _mismatch(self, given: Any, reason: str) -> SchemaError:
        return SchemaError(
            f"cannot compare {self.name!r}, which is {self.kind.value}, with {given!r}: {reason}"
        )

    def _numbers(self, values: pa.Array) -> npt.NDArray[Any] | None:
        """Return values, but null, as statistics tell of them; None if they do not."""
        if not self.kind.is_number:
            return None
        values = values.drop_null()
        return np.asarray(values if self.kind is ColumnType.FLOAT64 else values.cast(pa.int64()))


_MAKERS: Mapping[str, Callable[[_Column, Any], Predicate]] = {
    "==": _Column.equal,
    "!=": _Column.unequal,
    "in": _Column.among,
    "not_in": _Column.not_among,
    "null": _Column.null,
    "prefix": _Column.prefix,
    "regex": _Column.regex,
    "contains": _Column.holding,
    "all": _Column.holding_all,
}


def _is_many(given: Any) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray | pa.Scalar)


def _several(given: Any) -> list[Any]:
    """Return what is given as a list of Python values, of one where it is one."""
    if isinstance(given, pa.Array | pa.ChunkedArray):
        return list(given) if pa.types.is_timestamp(given.type) else list(given.to_pylist())
    values = list(given) if _is_many(given) else [given]
    if any(isinstance(value, pa.Scalar) for value in values):
        return [
            value.as_py() if isinstance(value, pa.Scalar) and not pa.types.is_timestamp(value.type) else value
            for value in values
        ]
    return values


def _instant(value: Any) -> int | None:
    missing = value is None or (isinstance(value, pa.Scalar) and not value.is_valid)
    return None if missing else to_nanoseconds(value, "a time in where")


def _is_in(column: pa.Array, values: pa.Array) -> pa.Array:
    """Return which values of a column are among these; null is found only where null is among them.

    NaN finds NaN, and a zero the other one.
    """
    if len(values) == 1 and values.null_count == 0 and not _is_nan(values[0]):
        return pc.equal(column, values[0])
    if pa.types.is_floating(values.type):
        values = pa.concat_arrays([values, pc.negate(values.filter(pc.equal(values, 0.0)))])
    return pc.is_in(column, value_set=values)


def _is_nan(value: pa.Scalar) -> bool:
    return bool(pa.types.is_floating(value.type) and np.isnan(value.as_py()))


def _holding(lists: pa.ListArray, elements: pa.Array) -> pa.Array:
    """Return which lists hold one of the elements; null where they are null."""
    owners = np.asarray(pc.list_parent_indices(lists))
    found = np.zeros(len(lists), np.bool_)
    found[owners[np.asarray(pc.is_in(lists.flatten(), value_set=elements))]] = True
    return pa.array(found, mask=np.asarray(lists.is_null()))


_FLAGS = ((re.IGNORECASE, "i"), (re.MULTILINE, "m"), (re.DOTALL, "s"))


def _inlined(name: str, pattern: re.Pattern[Any]) -> Any:
    """Return a compiled pattern's text with its flags in it."""
    if pattern.flags & (re.VERBOSE | re.LOCALE):
        raise SchemaError(
            f"where cannot use {pattern!r} on {name!r}: of a pattern's flags IGNORECASE, MULTILINE and DOTALL"
            " are known"
        )
    flags = "".join(letter for flag, letter in _FLAGS if pattern.flags & flag)
    if not flags:
        return pattern.pattern
    inline = f"(?{flags})"
    return inline + pattern.pattern if isinstance(pattern.pattern, str) else inline.encode() + pattern.pattern
