"""The files that ``measurefs ingest`` reads: which they are, and their rows block by block."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import re
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from measurefs.cli.common import BadInput, user_file

_CSV_ENDINGS = (".csv", ".csv.gz", ".tsv")
_PARQUET_ENDINGS = (".parquet", ".pq")
_BLOCK_BYTES = 4 << 20
_BLOCK_ROWS = 128 << 10
_STANDARD_INPUT = "<stdin>"

Read = Callable[[int], object]
"""Is told how many bytes of a file have been read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Attributes
    ----------
    path : Path
        Where its bytes are.
    name : str
        What the user calls it.
    parquet : bool
        Whether it is Parquet; else it is CSV.
    size, changed : int
        Its bytes and when they were changed, as of the beginning.
    """

    path: Path
    name: str
    parquet: bool
    size: int
    changed: int

    def check_unchanged(self) -> None:
        """Raise `BadInput` if the file is not what it was when it was checked."""
        with user_file(self.name):
            status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) != (self.size, self.changed):
            raise BadInput(
                f"{self.name} was changed while it was being read; run the command again once nobody writes to it "
                "(rows that are there already are replaced, not doubled)"
            )

    def placeholders(self) -> dict[str, str]:
        """Return what ``{stem}`` and the like stand for."""
        path = Path(self.name)
        stem = path.name.removesuffix(".gz")
        return {"stem": Path(stem).stem, "name": path.name, "parent": path.absolute().parent.name}


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows of a file, as they are in it.

    Attributes
    ----------
    source : Source
    first : int
        The number of the first row, from 0, headers not counted.
    rows : pyarrow.Table
        Of a CSV file all columns are strings, and null is what is empty and not quoted.
    """

    source: Source
    first: int
    rows: pa.Table

    def where(self, row: int) -> str:
        """Name the file and line of one of the rows."""
        return locate(self.source, self.first + row)


def locate(source: Source, row: int) -> str:
    """Name the file and, where it has lines, the line of a row."""
    if not source.parquet:
        for number, (line, _) in enumerate(_lines(source), start=-1):
            if number == row:
                return f"{source.name}, line {line}"
    return f"{source.name}, row {row + 1}"


def _lines(source: Source) -> Iterator[tuple[int, int]]:
    """Yield for each record of a CSV file, the header included, its line and how many columns it has."""
    with _decompressed(source, source.path.open("rb")) as stream:
        reader = csv.reader(
            io.TextIOWrapper(stream, "utf-8", errors="replace", newline=""), delimiter=_delimiter(source)
        )
        before = 0
        for record in reader:
            if record:
                yield before + 1, len(record)
            before = reader.line_num


# Which files


def find_sources(names: Sequence[str], form: str, keep: contextlib.ExitStack) -> list[Source]:
    """Return the files that the arguments name; directories stand for what they hold.

    Parameters
    ----------
    names : sequence of str
    form : str
        ``"csv"``, ``"parquet"`` or ``"auto"``.
    keep : contextlib.ExitStack
        Removes what standard input was kept in.
    """
    sources: list[Source] = []
    for name in names:
        if name == "-":
            sources.append(_source(_spool(keep), _STANDARD_INPUT, form))
        elif Path(name).is_dir():
            sources += [_source(path, str(path), form) for path in _in_directory(Path(name))]
        else:
            sources.append(_source(Path(name), name, form))
    return sources


def _in_directory(directory: Path) -> list[Path]:
    with user_file(directory):
        paths = sorted(directory.iterdir())
    endings = (*_CSV_ENDINGS, *_PARQUET_ENDINGS)
    found = [path for path in paths if path.name.lower().endswith(endings) and not path.name.startswith(".")]
    if not found:
        raise BadInput(
            f"the directory {str(directory)!r} has no files that end in {', '.join(endings)}; name the files"
        )
    return found


def _source(path: Path, name: str, form: str) -> Source:
    with user_file(name):
        status = path.stat()
        with path.open("rb") as file:
            parquet = form == "parquet" or (form == "auto" and file.read(4) == b"PAR1")
    return Source(path, name, parquet, status.st_size, status.st_mtime_ns)


def _spool(keep: contextlib.ExitStack) -> Path:
    """Keep standard input in a file, since it is read twice: to check it, and to write it."""
    import tempfile  # noqa: PLC0415 - rarely needed

    directory = Path(keep.enter_context(tempfile.TemporaryDirectory(prefix="measurefs-")))
    path = directory / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


# Reading


def blocks(source: Source, read: Read) -> Iterator[Block]:
    """Yield the rows of a file.

    Raises
    ------
    BadInput
        The file cannot be read, or is not what it is taken for; the message names the line where that is known.
    """
    first = 0
    with user_file(source.name), contextlib.closing(_tables(source, read)) as tables:
        for table in tables:
            yield Block(source, first, table)
            first += table.num_rows


def _tables(source: Source, read: Read) -> Generator[pa.Table, None, None]:
    try:
        with source.path.open("rb") as file:
            for table in _parquet(file, source) if source.parquet else _csv(file, source):
                _check_header(table.column_names, source)
                yield table
                read(source.size if file.closed else file.tell())
    except pa.ArrowException as error:
        raise _unreadable(source, error) from error


def _check_header(names: Sequence[str], source: Source) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"{source.name} has two columns named {twice[0]!r}; rename one, nothing was stored")


def _parquet(file: IO[bytes], source: Source) -> Iterator[pa.Table]:
    del source
    with pyarrow.parquet.ParquetFile(file) as parquet:
        yield parquet.schema_arrow.empty_table()
        for batch in parquet.iter_batches(_BLOCK_ROWS):
            yield pa.Table.from_batches([batch])


def _csv(file: IO[bytes], source: Source) -> Iterator[pa.Table]:
    names = _header(source)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parse = pyarrow.csv.ParseOptions(delimiter=_delimiter(source), newlines_in_values=True)
    options = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
    yield pa.Table.from_arrays([pa.array([], pa.string())] * len(names), names)
    with (
        _decompressed(source, file) as stream,
        pyarrow.csv.open_csv(stream, options, parse, convert) as reader,
    ):
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _header(source: Source) -> list[str]:
    with _decompressed(source, source.path.open("rb")) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
        names = next(filter(None, csv.reader(text, delimiter=_delimiter(source))), None)
    if names is None:
        raise BadInput(f"{source.name} is empty: the first line must name the columns; nothing was stored")
    return names


def _delimiter(source: Source) -> str:
    return "\t" if source.name.lower().endswith(".tsv") else ","


def _decompressed(source: Source, file: IO[bytes]) -> Any:
    return pa.CompressedInputStream(file, "gzip") if source.name.lower().endswith(".gz") else file


def _unreadable(source: Source, error: Exception) -> BadInput:
    if source.parquet:
        return BadInput(f"{source.name} cannot be read as Parquet ({error}); nothing was stored")
    ragged = re.search(r"Expected (\d+) columns, got (\d+)", str(error))
    if ragged is None:
        return BadInput(f"{source.name} cannot be read as CSV ({error}); nothing was stored")
    expected, found = ragged.groups()
    line = next((line for line, columns in _lines(source) if columns != int(expected)), None)
    where = source.name if line is None else f"{source.name}, line {line}"
    return BadInput(
        f"{where}: the row has {found} columns and the header {expected}; correct or remove it, nothing was stored"
    )


def parquet_types(sources: Sequence[Source]) -> Iterator[tuple[Source, Mapping[str, pa.DataType]]]:
    """Yield the columns of the Parquet files with their types, without reading rows."""
    for source in sources:
        if source.parquet:
            try:
                with user_file(source.name):
                    schema = pyarrow.parquet.read_schema(source.path)
            except pa.ArrowException as error:
                raise _unreadable(source, error) from error
            yield source, {field.name: field.type for field in schema}
