"""Arrow's expressions as trees: read from the form in which Arrow pickles them, and evaluated by Arrow itself.

The pickled form is a record batch of one row. Its schema's metadata is the tree, a key and a value for each step
of a walk through it; the batch's columns are the literals and the options of functions::

    literal 0         the first column's value
    field_ref x       the column x
    call f ... end f  the function f of what stands between; with "options 1" the second column's value for it

A stretch of it that begins with a call and ends with its end is an expression again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import pyarrow as pa

from measurefs.codec import compute as pc

AND = frozenset({"and", "and_kleene"})
OR = frozenset({"or", "or_kleene"})


class Literal(msgspec.Struct, frozen=True):
    """A value.

    Attributes
    ----------
    value : pyarrow.Array
        One value.
    steps : slice
        Where it stands in the pickled form.
    """

    value: pa.Array
    steps: slice


class Field(msgspec.Struct, frozen=True):
    """A column, or something within one where it is nested."""

    name: str
    nested: bool
    steps: slice


class Call(msgspec.Struct, frozen=True):
    """A function of other nodes; its options are a struct's children, None where it has none."""

    function: str
    operands: tuple[Node, ...]
    options: dict[str, pa.Array] | None
    steps: slice


Node: TypeAlias = Literal | Field | Call


class Form:
    """An expression's pickled form.

    Attributes
    ----------
    root : Node or None
        The tree; None where the form is one that is not known here, as that of an expression with columns given
        by position.
    """

    def __init__(self, expression: pc.Expression) -> None:
        self.expression = expression
        self.root: Node | None = None
        try:
            self._rebuild, (data,) = expression.__reduce__()
            self._batch = pa.ipc.open_file(data).get_batch(0)
            self._steps = _metadata(self._batch.schema)
            self.root = self._parse()
        except (pa.ArrowException, KeyError, IndexError, ValueError, TypeError, AttributeError):
            return

    def part(self, node: Node) -> pc.Expression:
        """Return one of its nodes as an expression of its own."""
        if node is self.root:
            return self.expression
        metadata = pa.KeyValueMetadata(self._steps[node.steps])
        columns = self._batch.columns or [pa.nulls(1)]  # a batch without columns has no row
        schema = pa.schema([pa.field("", column.type) for column in columns], metadata)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        return self._rebuild(sink.getvalue())

    def _parse(self) -> Node:
        """Walk through the steps; what a call has gathered so far lies on a stack."""
        open_calls: list[tuple[str, int, list[Node], dict[str, pa.Array] | None]] = []
        done: list[Node] = []
        position = 0
        while position < len(self._steps):
            key, value = self._steps[position]
            node: Node | None = None
            stop = position + 1
            if key == b"call":
                open_calls.append((value.decode(), position, done, None))
                done = []
            elif key == b"options":
                function, start, before, _ = open_calls.pop()
                open_calls.append((function, start, before, self._options(int(value))))
            elif key == b"end":
                function, start, before, options = open_calls.pop()
                node, done = Call(function, tuple(done), options, slice(start, stop)), before
            else:
                node = self._leaf(position)
                stop = node.steps.stop
            if node is not None:
                done.append(node)
            position = stop
        (root,) = done
        if open_calls:
            raise ValueError("a call does not end")
        return root

    def _leaf(self, position: int) -> Node:
        key, value = self._steps[position]
        if key == b"literal":
            return Literal(self._batch.column(int(value)), slice(position, position + 1))
        if key == b"field_ref":
            return Field(value.decode(), False, slice(position, position + 1))
        if key == b"nested_field_ref":
            return Field(
                self._steps[position + 1][1].decode(), True, slice(position, position + 1 + int(value))
            )
        raise ValueError(f"an unknown step {key!r}")

    def _options(self, number: int) -> dict[str, pa.Array]:
        column = self._batch.column(number)
        return {field.name: column.field(place) for place, field in enumerate(column.type)}


def operands(node: Node, functions: frozenset[str]) -> Iterator[Node]:
    """Yield what a chain of calls of one function joins, from left to right: ``a & (b & c)`` joins three."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Call) and node.function in functions:
            waiting += reversed(node.operands)
        else:
            yield node


def columns_of(node: Node) -> Iterator[str]:
    """Yield the names of the columns that occur in it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Field):
            yield node.name
        elif isinstance(node, Call):
            waiting += node.operands


def evaluate(expression: pc.Expression, table: pa.Table) -> pa.BooleanArray:
    """Return what an expression gives for each row, in order.

    Raises
    ------
    pyarrow.ArrowException
        Arrow cannot evaluate it.
    """
    # Imported here: it brings Arrow's data sets, and these pandas where it is installed; a quarter of a second.
    from pyarrow import acero  # noqa: PLC0415

    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    project = acero.Declaration("project", acero.ProjectNodeOptions([expression], ["found"]), [source])
    found = project.to_table(use_threads=False).column(0).combine_chunks()
    if isinstance(found, pa.ChunkedArray):  # of nothing, in some versions
        return pa.array([], found.type)
    return found


class _ArrowSchema(ctypes.Structure):
    """The beginning of what Arrow's C data interface says of a schema."""

    _fields_ = (
        ("format", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("metadata", ctypes.c_void_p),
    )


_POINTER_OF = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
_pointer_of = _POINTER_OF(("PyCapsule_GetPointer", ctypes.pythonapi))


def _metadata(schema: pa.Schema) -> list[tuple[bytes, bytes]]:
    """Return a schema's metadata with every key as often as it is there; `Schema.metadata` keeps the last one.

    In C it is the number of pairs, then for each the key's length, the key, the value's length, the value.
    """
    capsule = schema.__arrow_c_schema__()
    place = _ArrowSchema.from_address(_pointer_of(capsule, b"arrow_schema")).metadata
    if place is None:
        raise ValueError("an expression without steps")

    def number() -> int:
        nonlocal place
        found = ctypes.c_int32.from_address(place).value
        place += ctypes.sizeof(ctypes.c_int32)
        return found

    def text() -> bytes:
        nonlocal place
        size = number()
        found = ctypes.string_at(place, size)
        place += size
        return found

    return [(text(), text()) for _ in range(number())]
