"""What every format version so far has put on disk is read, exactly, by this release and all later ones.

The stores are in ``format-<version>/<name>/store``, what they hold is in ``expected.json`` beside them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pytest

import measurefs
from measurefs import Database, FileSystem, Measure, UnsupportedStoreError
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal, unseal
from measurefs.fs import join, open_url, parent, walk
from measurefs.part.file_part import read_metadata
from measurefs.part.metadata import FORMAT_VERSION
from measurefs.part.sections import MAGIC, TRAILER
from measurefs.table.epochs import snapshot_epoch
from tests.database.helpers import files_of
from tests.golden import plain
from tests.golden.recorder import everything
from tests.golden.stores import STORES
from tests.golden.write import HOME, directory, write_all

GOLDEN = sorted(path.parent for path in HOME.glob("format-*/*/expected.json"))
LIMIT = 250_000
"""Bytes that the stores of one version may take."""
MAX_PATH = 140


def names(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


every = pytest.mark.parametrize("golden", GOLDEN, ids=names)
Copy = Callable[[Path], FileSystem]


def in_memory(golden: Path) -> MemoryFileSystem:
    """Copy a store into memory."""
    fs = MemoryFileSystem()
    for file in (golden / "store").rglob("*"):
        if file.is_file():
            path = file.relative_to(golden / "store").as_posix()
            fs.make_dir(parent(path), exist_ok=True)
            fs.write(path, file.read_bytes())
    return fs


@pytest.fixture(params=["disk", "memory"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Copy]:
    """Copies a store to where it may be written to."""
    if request.param == "memory":
        yield in_memory
        return
    opened: list[FileSystem] = []

    def on_disk(golden: Path) -> FileSystem:
        shutil.copytree(golden / "store", tmp_path / "store")
        opened.append(open_url(str(tmp_path / "store")))
        return opened[-1]

    yield on_disk
    for fs in opened:
        fs.close()


def expected_of(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "expected.json").read_bytes())
    return found


def check_rows(rows: plain.Rows, expected: plain.Rows) -> None:
    assert [plain.line(row) for row in rows] == [plain.line(row) for row in expected]


def check(db: Database, expected: dict[str, Any]) -> None:
    """Fail unless a store holds exactly what is expected: measures, columns, types, values, in order; and tags."""
    assert db.measures() == sorted(expected["measures"])
    for name, described in expected["measures"].items():
        table = everything(db.measure(name))
        table.validate(full=True)
        assert plain.types_of(table) == described["types"]
        check_rows(plain.rows_of(table), described["rows"])
        assert sorted(db.measure(name).tags()) == sorted(described["tags"])
        for tag, rows in described["tags"].items():
            check_rows(plain.rows_of(everything(db.measure(name), tag)), rows)
        schema = db.measure(name).schema
        assert {field: getattr(schema, field) for field in described["schema"]} == described["schema"]


@every
def test_is_read_exactly_and_left_as_it_is(golden: Path, copy: Copy) -> None:
    expected, fs = expected_of(golden), copy(golden)
    before = files_of(fs)
    with measurefs.open(fs, read_only=True) as db:
        check(db, expected)
        for name, described in expected["measures"].items():
            found = {
                path: {
                    "epoch": f"{stats['epoch']:016x}",
                    "parts": stats["file_parts"],
                    "rows": stats["rows"],
                    "blocks": stats["blocks"],
                }
                for path, stats in db.measure(name).stats().items()
            }
            for path, table in described["tables"].items():
                assert found.pop(path).items() <= table.items()
                assert [each.name for each in fs.read_dir(path) if snapshot_epoch(each.name)] == table[
                    "snapshots"
                ]
            assert not found
    assert files_of(fs) == before


@every
def test_can_be_searched(golden: Path) -> None:
    """Each row by its entity and its time, through the indexes of that version."""
    expected = expected_of(golden)
    with measurefs.open(in_memory(golden), read_only=True) as db:
        for name, described in expected["measures"].items():
            measure, columns = db.measure(name), list(described["types"])
            for row in described["rows"]:
                by_name = dict(zip(columns, row, strict=True))
                entity = {column: by_name[column] for column in measure.schema.entity}
                where = {
                    column: bytes.fromhex(value) if described["types"][column] == "binary" else value
                    for column, value in entity.items()
                }
                found = measure.query(
                    start=pa.scalar(by_name["time"]), where=where, columns=columns, order="time", limit=1
                )
                check_rows(plain.rows_of(found.to_arrow()), [row])


@every
def test_can_be_written_to(golden: Path, copy: Copy) -> None:
    """New rows go beside the old ones, and old rows can be replaced."""
    expected, fs = expected_of(golden), copy(golden)
    with measurefs.open(fs) as db:
        for name, described in expected["measures"].items():
            measure = db.measure(name)
            rows = everything(measure)
            old = rows.slice(0, 1).set_column(
                rows.column_names.index("version"), "version", pa.array([2**63 - 1] * min(1, len(rows)))
            )
            measure.write(old)
            measure.write(new_row(measure), durable=True)
            measure.gc()
            described["after"] = [
                row if n else [*row[:-1], 2**63 - 1] for n, row in enumerate(described["rows"])
            ]
    with measurefs.open(fs, read_only=True) as db:
        for name, described in expected["measures"].items():
            table = everything(db.measure(name))
            assert plain.types_of(table) == described["types"]
            for tag, kept in described["tags"].items():
                check_rows(plain.rows_of(everything(db.measure(name), tag)), kept)
            rows = plain.rows_of(table)
            added = [row for row in rows if row[0] == NEW_TIME]
            assert len(added) == 1
            check_rows([row for row in rows if row not in added], described["after"])


NEW_TIME = 1_704_067_200_123_456_789
"""When no row of any store is."""


def new_row(measure: Measure) -> dict[str, list[Any]]:
    values = {"string": "new", "int64": 12345, "binary": b"new"}
    entity = {name: [values[kind]] for name, kind in measure.schema.entity.items()}
    return {"time": [NEW_TIME]} | entity


def with_earlier() -> list[Any]:
    return [
        pytest.param(golden, snapshot, id=f"{names(golden)}/{snapshot.rpartition('/')[2]}")
        for golden in GOLDEN
        for snapshot in expected_of(golden)["earlier"]
    ]


@pytest.mark.parametrize(("golden", "snapshot"), with_earlier())
def test_superseded_snapshots_are_whole(golden: Path, snapshot: str) -> None:
    """Without those after it, each is what the table held then."""
    fs = in_memory(golden)
    for entry in fs.read_dir(parent(snapshot)):
        if (snapshot_epoch(entry.name) or 0) > (snapshot_epoch(snapshot.rpartition("/")[2]) or 0):
            fs.delete_file(join(parent(snapshot), entry.name))
    with measurefs.open(fs, read_only=True) as db:
        (name,) = db.measures()
        check_rows(plain.rows_of(everything(db.measure(name))), expected_of(golden)["earlier"][snapshot])


class TestNewer:
    """A store that a later release wrote is refused with both versions, and nothing of it is touched."""

    REFUSAL = f"format version {FORMAT_VERSION + 1} .*up to {FORMAT_VERSION}"

    def change(self, fs: FileSystem, suffix: str, edit: Callable[[dict[str, Any]], None]) -> str:
        """Edit the last sealed document with such a name, and seal it again."""
        path = [path for path in walk(fs, "") if path.endswith(suffix)][-1]
        body = unseal(fs.read(path), dict, path)
        edit(body)
        fs.write(path, seal(body))
        return path

    def refused(self, fs: FileSystem, message: str) -> None:
        before = files_of(fs)
        for read_only in (True, False):
            with (
                pytest.raises(UnsupportedStoreError, match=message),
                measurefs.open(fs, read_only=read_only) as db,
            ):
                measure = db.measure("disk")
                if read_only:
                    measure.query().to_arrow()
                else:
                    measure.write(new_row(measure))
        after = files_of(fs)
        assert {path: data for path, data in after.items() if not path.endswith("LOCK")} == before

    @pytest.fixture
    def fs(self) -> MemoryFileSystem:
        return in_memory(directory(FORMAT_VERSION) / "wide")

    @pytest.mark.parametrize("document", ["measurefs.json", "schema.json", ".snp"])
    def test_a_document_of_the_next_format(self, fs: MemoryFileSystem, document: str) -> None:
        path = self.change(fs, document, lambda body: body.update(format=FORMAT_VERSION + 1))
        self.refused(fs, f"{path}.*{self.REFUSAL}")

    def test_a_part_of_the_next_format_in_a_snapshot_of_this(self, fs: MemoryFileSystem) -> None:
        path = self.change(fs, ".snp", lambda body: body["parts"][-1].update(format=FORMAT_VERSION + 1))
        self.refused(fs, f"{path}.*{self.REFUSAL}")

    def test_a_wide_part(self, fs: MemoryFileSystem) -> None:
        path = self.change(fs, "/metadata.json", lambda body: body.update(format=FORMAT_VERSION + 1))
        with pytest.raises(UnsupportedStoreError, match=self.REFUSAL):
            read_metadata(fs, parent(path))

    def test_a_compact_part(self) -> None:
        fs = in_memory(directory(FORMAT_VERSION) / "compact")
        path = next(path for path in walk(fs, "") if path.endswith(".part"))
        data = fs.read(path)
        size, _ = TRAILER.unpack(data[-TRAILER.size :])
        start = len(data) - TRAILER.size - size
        sealed = seal(unseal(data[start:][:size], dict, path) | {"format": FORMAT_VERSION + 1})
        fs.write(path, data[:start] + sealed + TRAILER.pack(len(sealed), MAGIC))
        with pytest.raises(UnsupportedStoreError, match=self.REFUSAL):
            read_metadata(fs, path)

    def test_a_part_of_the_next_format_with_keys_of_its_own(self, fs: MemoryFileSystem) -> None:
        """Its version is looked at before all else."""
        path = self.change(
            fs, "/metadata.json", lambda body: body.update(format=FORMAT_VERSION + 1, deleted=[1])
        )
        with pytest.raises(UnsupportedStoreError, match=self.REFUSAL):
            read_metadata(fs, parent(path))

    @pytest.mark.parametrize(
        ("document", "edit"),
        [
            pytest.param("schema.json", lambda body: body.update(surprise=1), id="schema"),
            pytest.param(".snp", lambda body: body.update(surprise=1), id="snapshot"),
            pytest.param(".snp", lambda body: body["parts"][-1].update(surprise=1), id="part"),
            pytest.param(
                ".snp", lambda body: body["parts"][-1]["columns"][0].update(surprise=1), id="stored column"
            ),
            pytest.param(
                ".snp", lambda body: body["parts"][-1]["columns"][0]["column"].update(surprise=1), id="column"
            ),
            pytest.param(
                ".snp",
                lambda body: body["parts"][-1]["sections"]["timestamps.bin"].update(surprise=1),
                id="section",
            ),
        ],
    )
    def test_an_unknown_key_in_a_document_of_this_format(
        self, fs: MemoryFileSystem, document: str, edit: Callable[[dict[str, Any]], None]
    ) -> None:
        """What it says about the rows is unknown: none is served, and no older snapshot in its place.

        Its checksum is right, so this is no damage, and not to be set aside as such.
        """
        path = self.change(fs, document, edit)
        self.refused(fs, f"{path}.*surprise")

    def test_an_unknown_key_in_the_identity_is_ignored(self, fs: MemoryFileSystem) -> None:
        """All it has to tell is the format; a release that needs more there raises it."""
        self.change(fs, "measurefs.json", lambda body: body.update(surprise=1))
        with measurefs.open(fs, read_only=True) as db:
            check(db, expected_of(directory(FORMAT_VERSION) / "wide"))


class TestTheStoresThemselves:
    @every
    def test_a_version_that_this_release_reads(self, golden: Path) -> None:
        assert 1 <= expected_of(golden)["format"] <= FORMAT_VERSION
        assert golden.parent == directory(expected_of(golden)["format"])

    def test_every_format_so_far_is_there(self) -> None:
        assert {golden.parent for golden in GOLDEN} == {directory(n) for n in range(1, FORMAT_VERSION + 1)}
        assert {golden.name for golden in GOLDEN if golden.parent == directory(FORMAT_VERSION)} == set(STORES)

    def test_they_are_small(self) -> None:
        for version in {golden.parent for golden in GOLDEN}:
            assert sum(path.stat().st_size for path in version.rglob("*") if path.is_file()) <= LIMIT

    def test_every_system_can_check_them_out(self) -> None:
        """Also one without distinction of case, with reserved names, or with short paths."""
        reserved = {
            "con",
            "prn",
            "aux",
            "nul",
            *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
        }
        paths = [path.relative_to(HOME.parent.parent).as_posix() for path in HOME.rglob("*")]
        assert len({path.casefold() for path in paths}) == len(paths)
        for path in paths:
            assert path.isascii()
            assert len(path) <= MAX_PATH
            assert not set('<>:"\\|?*') & set(path)
            for part in PurePosixPath(path).parts:
                assert part.partition(".")[0].casefold() not in reserved
                assert not part.endswith((" ", "."))

    @every
    def test_they_name_no_machine(self, golden: Path) -> None:
        """A lock file names its holder; here one of nowhere."""
        holders = [path for path in golden.rglob("*") if path.is_file() and b'"pid":' in path.read_bytes()]
        assert {path.name for path in holders} <= {"LOCK"}
        for path in holders:
            data = path.read_bytes()
            assert data.count(b'"pid"') == data.count(
                b'"host":"writer.example","pid":4242,"since":"2024-01-01T'
            )

    def test_git_leaves_their_bytes_alone(self) -> None:
        assert "tests/golden/format-*/** -text" in (HOME.parent.parent / ".gitattributes").read_text().split(
            "\n"
        )


class TestWriting:
    def test_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            write_all(tmp_path / name)
        first, second = (
            {
                path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
                for path in (tmp_path / name).rglob("*")
                if path.is_file()
            }
            for name in ("first", "second")
        )
        assert first == second
        assert {path.partition("/")[0] for path in first} == set(STORES)

    def test_what_is_there_is_never_written_again(self, tmp_path: Path) -> None:
        (tmp_path / "format-1").mkdir()
        with pytest.raises(FileExistsError):
            write_all(tmp_path / "format-1")
        assert list((tmp_path / "format-1").iterdir()) == []
