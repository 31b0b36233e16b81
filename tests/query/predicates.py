"""Random conditions, each said three ways: as a dict, as an Arrow expression, and in DuckDB's SQL."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tests.query.histories import ENTITY, FIELDS, TAGS, TIME_TYPE, TYPES, History

COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
KINDS = {**ENTITY, **TAGS, **FIELDS, "time": "int64", "version": "int64"}


def quoted(value: Any) -> str:
    """Return a value as SQL has it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::blob"
        case float():
            return f"'{value!r}'::double"
    return f"{value}::bigint"


@dataclasses.dataclass(frozen=True)
class Test:
    """A condition on one column.

    Attributes
    ----------
    word : str
        A comparison, ``among`` (a value or several, None for null), ``null``, ``prefix``, ``regex``, ``contains`` or
        ``all``.
    """

    __test__ = False

    column: str
    word: str
    operand: Any

    @property
    def entry(self) -> Any:
        """What a dict has for the column."""
        return self.operand if self.word == "among" else {self.word: self.operand}

    @property
    def expressible(self) -> bool:
        """Whether there is an expression for it."""
        if self.word == "among":
            values = self.operand if isinstance(self.operand, list) else [self.operand]
            return KINDS[self.column] != "list<string>" and not any(map(_peculiar, values))
        return self.word not in ("contains", "all")

    def expression(self) -> pc.Expression:
        field = pc.field(self.column)
        kind = TIME_TYPE if self.column == "time" else TYPES[KINDS[self.column]]
        match self.word:
            case "among":
                values = self.operand if isinstance(self.operand, list) else [self.operand]
                return field.isin(pa.array(values, pa.int64() if self.column == "time" else kind).cast(kind))
            case "null":
                return field.is_null() if self.operand else field.is_valid()
            case "prefix":
                return pc.starts_with(field, pattern=self.operand)
            case "regex":
                return pc.match_substring_regex(field, pattern=self.operand)
        operand = pa.scalar(self.operand, pa.int64() if self.column == "time" else kind)
        return COMPARISONS[self.word](field, operand.cast(kind))

    def sql(self) -> str:
        column, operand = self.column, self.operand
        several = operand if isinstance(operand, list) else [operand]
        match self.word:
            case "null":
                return f"({column} is {'' if operand else 'not '}null)"
            case "prefix":
                return f"starts_with({column}, {quoted(operand)})"
            case "regex":
                return f"regexp_matches({column}, {quoted(operand)})"
            case "all":
                return f"list_has_all({column}, [{', '.join(map(quoted, several))}])"
            case "contains":
                return f"list_has_any({column}, [{', '.join(map(quoted, several))}])"
            case "among" | "in":
                return self._among(several)
            case "not_in":
                return f"({column} is not null and not {self._among([each for each in several if each is not None])})"
        compared = f"{column} {'=' if self.word == '==' else self.word} {quoted(operand)}"
        if KINDS[column] != "float64":
            return f"({compared})"
        # DuckDB has NaN equal to itself and above all else; here it is neither.
        return f"({compared} {f'or isnan({column})' if self.word == '!=' else f'and not isnan({column})'})"

    def _among(self, values: Sequence[Any]) -> str:
        if KINDS[self.column] == "list<string>":
            there = [quoted(value) for value in values if value is not None]
            found = f"coalesce(list_has_any({self.column}, [{', '.join(there)}]::varchar[]), false)"
            return f"({found} or {self.column} is null)" if None in values else found
        terms = [
            f"{self.column} is null" if value is None else f"{self.column} = {quoted(value)}"
            for value in values
        ]
        return f"coalesce({' or '.join(terms) or 'false'}, false)"


def _peculiar(value: Any) -> bool:
    """Whether Arrow's `is_in` has ideas of its own about it: it goes by the bits of floats."""
    return value is None or (isinstance(value, float) and (math.isnan(value) or value == 0.0))


@dataclasses.dataclass(frozen=True)
class Pair:
    """A comparison of two number columns."""

    left: str
    word: str
    right: str

    def expression(self) -> pc.Expression:
        return COMPARISONS[self.word](pc.field(self.left), pc.field(self.right))

    def sql(self) -> str:
        compared = f"{self.left} {'=' if self.word == '==' else self.word} {self.right}"
        if KINDS[self.left] != "float64":
            return f"({compared})"
        nan = f"isnan({self.left}) or isnan({self.right})"
        known = f"{compared} or {nan}" if self.word == "!=" else f"{compared} and not ({nan})"
        return f"(case when {self.left} is not null and {self.right} is not null then {known} end)"


@dataclasses.dataclass(frozen=True)
class Joined:
    """Several conditions, joined by ``and`` or ``or``, or one that is turned into its opposite by ``not``."""

    word: str
    parts: tuple[Any, ...]

    def expression(self) -> pc.Expression:
        each = [part.expression() for part in self.parts]
        if self.word == "not":
            return ~each[0]
        return functools.reduce(operator.and_ if self.word == "and" else operator.or_, each)

    def sql(self) -> str:
        if self.word == "not":
            return f"(not {self.parts[0].sql()})"
        return f"({f' {self.word} '.join(part.sql() for part in self.parts)})"


@dataclasses.dataclass(frozen=True)
class Where:
    """A whole condition: all of these hold."""

    parts: tuple[Any, ...]
    form: str

    def given(self) -> Any:
        """What `query` is given."""
        if not self.parts:
            return None
        if self.form == "expression":
            return Joined("and", self.parts).expression()
        wanted: dict[str, Any] = {}
        for part in self.parts:
            held = wanted.get(part.column)
            wanted[part.column] = part.entry if held is None else {**held, **part.entry}
        return wanted

    def sql(self) -> str:
        return " and ".join(part.sql() for part in self.parts) or "true"


def draw_where(chance: random.Random, history: History) -> Where:
    """Draw a condition, most of which find something."""
    count = chance.choice([0, 1, 1, 1, 2, 2, 3])
    names = [name for name in KINDS if name not in ENTITY or name in history.layout.entity]
    if not history.layout.versioned:
        names.remove("version")
    columns = chance.choices(names, [4 if name in ENTITY else 1 for name in names], k=count)
    if chance.random() < 0.5:
        parts = [draw_test(chance, history, name) for name in dict.fromkeys(columns)]
        for part in list(parts):  # two bounds
            more = draw_test(chance, history, part.column)
            if part.word in COMPARISONS and more.word in COMPARISONS and more.word != part.word:
                parts.append(more)
        return Where(tuple(parts), "dict")
    return Where(tuple(_nested(chance, history, name, 2) for name in columns), "expression")


def _nested(chance: random.Random, history: History, column: str, depth: int) -> Any:
    kind = chance.random()
    if depth and kind < 0.3:
        parts = [_nested(chance, history, column, depth - 1)]
        names = [name for name in KINDS if name in history.layout.names]
        parts += [
            _nested(chance, history, chance.choice(names), depth - 1) for _ in range(chance.randrange(1, 3))
        ]
        return Joined(chance.choice(["or", "or", "and"]), tuple(parts))
    if depth and kind < 0.4:
        return Joined("not", (_nested(chance, history, column, depth - 1),))
    if kind < 0.45:
        left, right = chance.choice([("usage", "load"), ("n", "rack")])
        return Pair(left, chance.choice(list(COMPARISONS)), right)
    while True:
        test = draw_test(chance, history, column)
        if test.expressible and test.word not in ("in", "not_in"):
            return test


def draw_test(chance: random.Random, history: History, column: str) -> Test:
    """Draw a condition on a column."""

    def value() -> Any:
        if column == "time":
            return (
                history.base
                + chance.randrange(-2, history.span + 2) * history.step
                + chance.choice([0, 0, 1, -1])
            )
        if column == "version":
            return chance.randrange(-2, 4)
        while (drawn := history.value(column, chance)) is None:
            pass
        return "nobody" if column == "host" and chance.random() < 0.05 else drawn

    def several() -> list[Any]:
        values = [value() for _ in range(chance.randrange(4))]
        return (
            [*values, None]
            if chance.random() < 0.1 and column not in (*ENTITY, "time", "version")
            else values
        )

    kind = KINDS[column]
    if kind == "list<string>":
        word = chance.choice(["contains", "all", "null", "among", "among"])
        strings = [chance.choice(["x", "y", "", "z"]) for _ in range(chance.randrange(1, 3))]
        match word:
            case "null":
                return Test(column, word, chance.random() < 0.5)
            case "among":
                return Test(column, word, chance.choice([strings, strings[0]]))
        return Test(column, word, strings)
    words = [*COMPARISONS, "among", "among", "among", "in", "not_in", "null"]
    words += ["prefix", "regex"] if kind == "string" else []
    word = chance.choice(words)
    match word:
        case "null":
            return Test(column, word, chance.random() < 0.5)
        case "prefix":
            return Test(column, word, value()[:1])
        case "regex":
            return Test(column, word, chance.choice(["^e", "r", "[0-4]$", "ü|x", "^$"]))
        case "in" | "not_in":
            return Test(column, word, several())
        case "among":
            return Test(column, word, chance.choice([several(), value()]))
    operand = value()
    while isinstance(operand, float) and math.isnan(operand):
        operand = value()
    return Test(column, word, operand)
