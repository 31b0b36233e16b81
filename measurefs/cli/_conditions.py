"""``--where``: conditions as they are typed become those that a query takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from measurefs.cli.common import BadInput
from measurefs.codec.types import ColumnType
from measurefs.database import MeasureSchema
from measurefs.query import TIME, check_names

_TYPED = {
    "=": "==",
    "==": "==",
    "!=": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "~": "regex",
    "^=": "prefix",
}
_TEXTUAL = ("regex", "prefix")
_COMPARISON = re.compile(r"(\s*)(!=|<=|>=|\^=|==|[=<>~])(.*)", re.DOTALL)
_NULL = re.compile(r"\s+is\s+(not\s+)?null\s*", re.IGNORECASE)


def parse_where(conditions: Sequence[str], schema: MeasureSchema) -> dict[str, Any] | None:
    """Read conditions as typed; the values get the types of the schema.

    Those that are ``=`` or ``is null`` are alternatives where they are about one column. All others must hold.
    """
    known = {**schema.entity, **schema.columns}
    columns: dict[str, _Column] = {}
    for condition in conditions:
        name, operator, text = _split(condition, known)
        columns.setdefault(name, _Column(name, known[name])).add(condition, operator, text)
    return {name: column.wanted() for name, column in columns.items()} or None


def _split(condition: str, known: Mapping[str, ColumnType]) -> tuple[str, str, str]:
    """Return column, operator and what it is compared with; a known name may have operators in it."""
    for name in sorted(known, key=len, reverse=True):
        if condition.startswith(name):
            rest = condition[len(name) :]
            null = _NULL.fullmatch(rest)
            if null is not None:
                return name, "not null" if null[1] else "null", ""
            comparison = _COMPARISON.fullmatch(rest)
            if comparison is not None:
                space, operator, text = comparison.groups()
                return name, _TYPED[operator], text.lstrip() if space else text
    typed = re.match(r"(.*?)\s*(?:!=|\^=|[=<>~]|\s+is\s+(?:not\s+)?null\s*$)", condition, re.DOTALL)
    if typed is None or not typed[1]:
        raise BadInput(
            f"--where {condition!r} is not of the form COL=VALUE, such as --where host=a; "
            "the operators are = != < <= > >= ~ (regular expression) ^= (prefix) and 'is null', 'is not null'"
        )
    if typed[1] == TIME:
        raise BadInput("--where does not choose times; use --start and --end")
    check_names([typed[1]], known, "--where")
    raise BadInput(f"--where {condition!r} has no operator behind the column {typed[1]!r}; write COL=VALUE")


class _Column:
    """What is asked of one column."""

    def __init__(self, name: str, kind: ColumnType) -> None:
        self._name = name
        self._kind = kind
        self._any: list[Any] = []
        self._none: list[Any] = []
        self._all: dict[str, Any] = {}

    def add(self, condition: str, operator: str, text: str) -> None:
        self._check(condition, operator)
        if operator in ("==", "null"):
            self._any.append(None if operator == "null" else self._value(condition, text))
        elif operator == "!=":
            self._none.append(self._value(condition, text))
        else:
            name, value = "null", False
            if operator != "not null":
                name, value = operator, self._value(condition, text)
            if self._all.setdefault(name, value) != value:
                raise BadInput(
                    f"--where {condition!r} comes on top of another condition of that kind on {self._name!r}; "
                    "give one of them, such as one regular expression for both"
                )

    def wanted(self) -> Any:
        """Return it as a query takes it."""
        every = dict(self._all)
        if self._none:
            every["not_in"] = self._none
        if not self._any:
            return every
        if not every:
            return self._any
        return {("in" if self._kind.element is None else "contains"): self._any, **every}

    def _check(self, condition: str, operator: str) -> None:
        if self._kind.element is not None and operator not in ("==", "null", "not null"):
            raise BadInput(
                f"--where {condition!r}: {self._name!r} holds lists; {self._name}=VALUE finds lists with the value, "
                "and 'is null' and 'is not null' can be asked"
            )
        if operator in _TEXTUAL and self._kind not in (ColumnType.STRING, ColumnType.BINARY):
            raise BadInput(
                f"--where {condition!r}: ~ and ^= are for text, and {self._name!r} is {self._kind.value}; "
                "compare it with = != < <= > >="
            )

    def _value(self, condition: str, text: str) -> Any:
        kind = self._kind.element or self._kind
        try:
            return pa.scalar(text).cast(kind.arrow).as_py()
        except pa.ArrowException as error:
            raise BadInput(
                f"--where {condition!r}: the column {self._name!r} is {self._kind.value}, "
                f"and {text!r} is no such value"
            ) from error
