"""From files to a measure: which columns there are, of which types, and rows in these types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from measurefs.cli._cells import (
    checked,
    decode,
    guess,
    kind_of,
    refuse_empty,
    text_to,
    times_of,
    typed_to,
)
from measurefs.cli._files import Block, Source
from measurefs.cli._wishes import TYPES, Wishes, check_same
from measurefs.cli.common import BadInput
from measurefs.codec.types import ColumnType
from measurefs.database import MeasureSchema
from measurefs.database.checks import one_array
from measurefs.database.schema import make_schema
from measurefs.query import TIME, VERSION, check_names


class Shape:
    """The columns of a measure that is being read from files.

    Of a measure that is there all types are known. Those of a new one are found while its rows are checked:
    a type only ever widens (whole numbers to numbers), so that all rows checked before fit the final one.

    Parameters
    ----------
    name : str
        The measure.
    wishes : Wishes
    existing : MeasureSchema or None
        The measure as it is, if it is.

    Raises
    ------
    BadInput
        What is asked for is not what the measure is.
    """

    def __init__(self, name: str, wishes: Wishes, existing: MeasureSchema | None) -> None:
        self._name = name
        self._wishes = wishes
        self._existing = existing
        self._seen: dict[str, None] = {}
        self._kinds: dict[str, ColumnType] = {}
        if existing is None:
            if not wishes.entity:
                raise BadInput(
                    f"measure {name!r} is new: say which columns tell its series apart with --entity"
                )
            self._kinds = {column: kind for column, kind in wishes.columns.items() if kind is not None}
        else:
            check_same(existing, wishes)
            self._kinds = {**existing.entity, **existing.columns}
        self._fixed = set(self._kinds)

    def survey(self, source: Source, types: Mapping[str, pa.DataType]) -> None:
        """Take note of the types that a Parquet file says its columns have."""
        for name, arrow in types.items():
            if (
                name in self._fixed
                or name in {self._wishes.time_column, VERSION}
                or name in self._wishes.skip
            ):
                continue
            kind = kind_of(arrow)
            known = self._kinds.get(name)
            if kind is None and not pa.types.is_null(arrow):
                raise BadInput(
                    f"{source.name}: column {name!r} is {arrow}, which a measure cannot hold; "
                    f"leave it out with --skip {name}"
                )
            if kind is not None:
                self._kinds[name] = kind if known is None else _wider(known, kind, name, source)

    def check_header(self, source: Source, names: Sequence[str]) -> None:
        """Raise `BadInput` if a file lacks columns, or has too many."""
        wishes = self._wishes
        taken = [name for name in names if name not in wishes.skip]
        both = [name for name in wishes.constants if name in taken]
        if both:
            raise BadInput(
                f"{source.name} has a column {both[0]!r} of its own, so --with cannot add it; --skip it"
            )
        if wishes.time_column != TIME and TIME in taken:
            raise BadInput(
                f"{source.name} has both {wishes.time_column!r} and {TIME!r}, and the time will be called {TIME!r}; "
                f"leave the other out with --skip {TIME}"
            )
        entity = self._existing.entity if self._existing else wishes.entity
        for name in (wishes.time_column, *entity):
            if name not in taken and name not in wishes.constants:
                hint = "--time-column NAME" if name == wishes.time_column else f"--with {name}={{stem}}"
                raise BadInput(
                    f"{source.name} has no column {name!r}; it has {', '.join(names)} (see {hint})"
                )
        if self._existing is not None:
            known = [wishes.time_column, VERSION, *self._existing.names]
            try:
                check_names([*taken, *wishes.constants], known, source.name)
            except ValueError as error:
                raise BadInput(f"{error}; leave a column out with --skip; nothing was stored") from error
        self._seen |= dict.fromkeys(names) | dict.fromkeys(wishes.constants)

    def convert(self, block: Block) -> pa.Table:
        """Return rows in the measure's types; columns that no value has been seen of are left out.

        Raises
        ------
        BadInput
            A value does not fit; the message names file, line, column and value.
        """
        table = block.rows
        columns: dict[str, pa.Array] = {}
        for name in table.column_names:
            if name in self._wishes.skip:
                continue
            column = decode(one_array(table.column(name)))
            if name == self._wishes.time_column:
                columns[TIME] = times_of(block, name, column, self._wishes.time_unit)
            elif (kind := self._kind(block, name, column)) is not None:
                columns[name] = _typed(block, name, column, kind)
        for name, text in self._wishes.constants.items():
            kind = self._kinds.setdefault(name, ColumnType.STRING)
            column = pa.repeat(pa.scalar(_filled(text, block.source)), table.num_rows)
            columns[name] = _typed(block, name, column, kind)
        for name in self._existing.entity if self._existing else self._wishes.entity:
            if name in columns:
                refuse_empty(block, name, columns[name])
        return pa.table(columns)

    def _kind(self, block: Block, name: str, column: pa.Array) -> ColumnType | None:
        if name == VERSION:
            return ColumnType.INT64
        known = self._kinds.get(name)
        if name in self._fixed or not block.rows.num_rows or not pa.types.is_string(column.type):
            return known
        if name in self._wishes.entity or name in self._wishes.tags:
            return self._kinds.setdefault(name, ColumnType.STRING)
        found = guess(block, name, column, known)
        if found is not None:
            self._kinds[name] = found
        return found

    def schema(self, *, final: bool) -> MeasureSchema:
        """Return the measure's schema as far as it is known.

        Raises
        ------
        BadInput
            In the end no file has a column that was named, or a column has no value to tell its type by.
        """
        if self._existing is not None:
            return self._existing
        wishes = self._wishes
        if final:
            self._check_complete()
        kinds = {name: self._kinds[name] for name in self._seen if name in self._kinds}
        others = [name for name in kinds if name not in wishes.columns and name not in {VERSION, TIME}]
        tags = [*wishes.tags, *(name for name in others if _is_tag(kinds[name]))]
        fields = [*wishes.fields, *(name for name in others if not _is_tag(kinds[name]))]
        return make_schema(
            self._name,
            {name: kinds.get(name, ColumnType.STRING) for name in wishes.entity},
            {name: kinds[name] for name in tags if name in kinds},
            {name: kinds[name] for name in fields if name in kinds},
            wishes.interval or "1d",
            wishes.ttl,
            1 if wishes.shards is None else wishes.shards,
        )

    def _check_complete(self) -> None:
        wishes = self._wishes
        for option, names in (("--tag", wishes.tags), ("--field", wishes.fields), ("--skip", wishes.skip)):
            for name in names:
                if name not in self._seen:
                    raise BadInput(
                        f"{option} names {name!r}, and no file has such a column; there are {', '.join(self._seen)}"
                        + (f" (types are {', '.join(TYPES)})" if ":" in name else "")
                    )
        known = {wishes.time_column, VERSION, *wishes.skip, *self._kinds}
        for name in self._seen:
            if name not in known:
                raise BadInput(
                    f"the column {name!r} is empty in every row, so its type is unknown; say it with "
                    f"--field {name}:float64 or --tag {name}:string, or leave it out with --skip {name}"
                )


def _is_tag(kind: ColumnType) -> bool:
    return kind is ColumnType.STRING or kind.element is not None


def _typed(block: Block, name: str, column: pa.Array, kind: ColumnType) -> pa.Array:
    text = pa.types.is_string(column.type) and kind is not ColumnType.STRING and not block.source.parquet
    attempt = text_to if text or name not in block.rows.column_names else typed_to
    return checked(block, name, column, lambda piece: attempt(name, piece, kind), kind.value)


def _filled(text: str, source: Source) -> str:
    for name, value in source.placeholders().items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _wider(known: ColumnType, kind: ColumnType, name: str, source: Source) -> ColumnType:
    if known == kind:
        return kind
    if {known, kind} == {ColumnType.INT64, ColumnType.FLOAT64}:
        return ColumnType.FLOAT64
    raise BadInput(
        f"{source.name}: column {name!r} is {kind}, and {known} in a file before; "
        f"say its type with --field {name}:TYPE or --tag {name}:TYPE, or leave it out with --skip {name}"
    )
