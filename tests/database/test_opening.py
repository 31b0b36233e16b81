"""Opening and closing databases: every form of address, foreign and newer stores, the ends of their lives."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import measurefs
from measurefs import (
    ClosedError,
    CorruptionError,
    Database,
    FencedError,
    FileSystem,
    LockError,
    Measure,
    NotExistError,
    TableOptions,
    UnsupportedStoreError,
)
from measurefs.codec.sealed import seal
from measurefs.fs import open_url
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, one_row, open_store, rows_of, values_of


def fill(database: Database) -> None:
    cpu = database.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    cpu.write(one_row(time=1, host="a", usage=0.5))


def usage(database: Database) -> list[Any]:
    return values_of(database.measure("cpu"), "usage")


class TestAddresses:
    def test_rows_are_there_after_reopening(self, store_url: Store) -> None:
        with open_store(store_url) as database:
            fill(database)
        with open_store(store_url) as database:
            assert usage(database) == [0.5]

    @pytest.mark.parametrize("form", [str, Path, lambda path: f"file://{path}"])
    def test_forms_of_a_local_path(self, tmp_path: Path, form: Callable[[Path], Any]) -> None:
        path = tmp_path / "not" / "yet" / "there"
        with measurefs.open(form(path)) as database:
            fill(database)
        with measurefs.open(str(path)) as database:
            assert usage(database) == [0.5]

    def test_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with measurefs.open("./metrics") as database:
            fill(database)
        assert (tmp_path / "metrics" / "measurefs.json").exists()

    def test_a_file_system_stays_its_owners(self, store_fs: FileSystem) -> None:
        for round_trip in range(2):
            with measurefs.open(store_fs) as database:
                if round_trip == 0:
                    fill(database)
                assert usage(database) == [0.5]
        assert "measurefs.json" in files_of(store_fs)

    def test_a_path_that_is_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("mine")
        with pytest.raises(measurefs.FileSystemError):
            measurefs.open(path)
        assert path.read_text() == "mine"

    def test_unknown_scheme(self) -> None:
        with pytest.raises(UnsupportedStoreError, match="nosuchscheme"):
            measurefs.open("nosuchscheme://somewhere")


class TestReadOnly:
    def test_of_a_missing_store_makes_nothing(self, store_url: Store) -> None:
        with store_url.open() as fs:
            before = files_of(fs)
            with pytest.raises(NotExistError, match="no measurefs store"):
                open_store(store_url, read_only=True)
            assert files_of(fs) == before

    def test_of_a_missing_directory_makes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            measurefs.open(tmp_path / "missing", read_only=True)
        assert not (tmp_path / "missing").exists()

    def test_changes_nothing(self, store_url: Store) -> None:
        with open_store(store_url) as database:
            fill(database)
        with store_url.open() as fs:
            before = files_of(fs)
            with open_store(store_url, read_only=True) as reader:
                assert usage(reader) == [0.5]
                reader.refresh()
                cpu = reader.measure("cpu")
                attempts: list[Callable[[], object]] = [
                    lambda: reader.create_measure("mem", entity=["host"]),
                    lambda: cpu.write(one_row(time=2, host="a")),
                    cpu.flush,
                    cpu.gc,
                    reader.flush,
                ]
                for attempt in attempts:
                    with pytest.raises(measurefs.MeasureFSError, match="read_only=True"):
                        attempt()
            assert files_of(fs) == before

    def test_beside_a_writer(self, store_url: Store) -> None:
        with open_store(store_url) as writer:
            fill(writer)
            writer.flush()
            with open_store(store_url, read_only=True) as reader:
                assert usage(reader) == [0.5]
                writer.measure("cpu").write(one_row(time=2, host="a", usage=1.5), durable=True)
                assert usage(reader) == [0.5]
                reader.refresh()
                assert usage(reader) == [0.5, 1.5]


class TestForeignDirectories:
    @pytest.mark.parametrize("below", ["cpu", "cpu/seg-19700101", "cpu/seg-19700101/shard-0"])
    @pytest.mark.parametrize("kind", ["local", "memory"])
    def test_directories_of_a_store_are_none(
        self, request: pytest.FixtureRequest, kind: str, below: str
    ) -> None:
        store: Store = request.getfixturevalue(f"{kind}_store")
        with open_store(store) as database:
            fill(database)
        with store.open() as fs:
            before = files_of(fs)
            with pytest.raises(UnsupportedStoreError, match=r"inside a store.*measurefs\.json"):
                measurefs.open(Below(fs, below))
            assert files_of(fs) == before

    def test_local_path_inside_a_store(self, tmp_path: Path) -> None:
        with measurefs.open(tmp_path) as database:
            fill(database)
        with pytest.raises(UnsupportedStoreError, match="inside a store"):
            measurefs.open(tmp_path / "cpu")

    def test_other_files_in_the_root_are_no_measures(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "photos").mkdir()
        with measurefs.open(tmp_path) as database:
            fill(database)
            assert database.measures() == ["cpu"]
        assert (tmp_path / "notes.txt").read_text() == "mine"


class Below(measurefs.fs.FileSystemWrapper):
    """The file system that starts at a directory of another one."""

    def __init__(self, wrapped: FileSystem, root: str) -> None:
        super().__init__(wrapped)
        self.root = root

    def _at(self, path: str) -> str:
        return measurefs.fs.join(self.root, path)

    def read(self, path: str) -> bytes:
        return self.wrapped.read(self._at(path))

    def read_dir(self, path: str) -> list[measurefs.DirEntry]:
        return self.wrapped.read_dir(self._at(path))

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        self.wrapped.make_dir(self._at(path), exist_ok=exist_ok)

    def write(self, path: str, data: measurefs.fs.Buffer, *, exclusive: bool = False) -> int:
        return self.wrapped.write(self._at(path), data, exclusive=exclusive)

    def sync_path(self, path: str) -> None:
        self.wrapped.sync_path(self._at(path))


def rewrite(fs: FileSystem, path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a sealed document as a newer release might have written it, its checksum right."""
    body = json.loads(fs.read(path))["body"]
    change(body)
    fs.write(path, seal(body))


def newest_snapshot(fs: FileSystem) -> str:
    return max(path for path in files_of(fs) if path.endswith(".snp"))


def newer(body: dict[str, Any]) -> None:
    body["format"] = 99


def newer_with_more(body: dict[str, Any]) -> None:
    body |= {"format": 99, "invented_later": {"some": ["thing"]}}


@pytest.mark.parametrize("change", [newer, newer_with_more])
@pytest.mark.parametrize("read_only", [False, True])
class TestNewerFormats:
    """What a newer release wrote is refused as such, and not called damaged."""

    @pytest.fixture
    def fs(self, memory_store: Store) -> FileSystem:
        with open_store(memory_store) as database:
            fill(database)
        return memory_store.open()

    def test_store(self, fs: FileSystem, change: Callable[..., None], read_only: bool) -> None:
        rewrite(fs, "measurefs.json", change)
        with pytest.raises(UnsupportedStoreError, match=r"measurefs\.json.*99.*newer measurefs"):
            measurefs.open(fs, read_only=read_only)

    def test_measure(self, fs: FileSystem, change: Callable[..., None], read_only: bool) -> None:
        rewrite(fs, "cpu/schema.json", change)
        with (
            measurefs.open(fs, read_only=read_only) as database,
            pytest.raises(UnsupportedStoreError, match=r"cpu/schema\.json.*99.*newer measurefs"),
        ):
            database.measure("cpu")

    def test_snapshot(self, fs: FileSystem, change: Callable[..., None], read_only: bool) -> None:
        rewrite(fs, newest_snapshot(fs), change)
        with (
            measurefs.open(fs, read_only=read_only) as database,
            pytest.raises(
                UnsupportedStoreError, match=r"cpu/seg-19700101/shard-0/.*snp.*99.*newer measurefs"
            ),
        ):
            usage(database)

    def test_part(self, fs: FileSystem, change: Callable[..., None], read_only: bool) -> None:
        rewrite(fs, newest_snapshot(fs), lambda body: change(body["parts"][0]))
        with (
            measurefs.open(fs, read_only=read_only) as database,
            pytest.raises(UnsupportedStoreError, match=r"99.*newer measurefs"),
        ):
            usage(database)


@pytest.mark.parametrize("path", ["measurefs.json", "cpu/schema.json"])
def test_damaged_documents_are_named(memory_store: Store, path: str) -> None:
    with open_store(memory_store) as database:
        fill(database)
    fs = memory_store.open()
    fs.write(path, fs.read(path).replace(b'"format":1', b'"format":0'))
    with pytest.raises(CorruptionError, match=path), measurefs.open(fs) as database:
        database.measure("cpu")


def uses(database: Database, cpu: Measure) -> dict[str, Callable[[], object]]:
    return {
        "create_measure": lambda: database.create_measure("mem", entity=["host"]),
        "measures": database.measures,
        "measure": lambda: database.measure("cpu"),
        "flush": database.flush,
        "refresh": database.refresh,
        "Measure.write": lambda: cpu.write(one_row(time=2, host="a")),
        "Measure.query": cpu.query,
        "Measure.flush": cpu.flush,
        "Measure.refresh": cpu.refresh,
        "Measure.gc": cpu.gc,
        "Measure.stats": cpu.stats,
    }


class TestClosing:
    def test_twice_is_harmless(self, store_url: Store) -> None:
        database = open_store(store_url)
        fill(database)
        cpu = database.measure("cpu")
        cpu.close()
        cpu.close()
        database.close()
        database.close()

    def test_use_after_close(self, memory_store: Store) -> None:
        database = open_store(memory_store)
        fill(database)
        cpu = database.measure("cpu")
        database.close()
        for name, use in uses(database, cpu).items():
            with pytest.raises(ClosedError, match="open"):
                pytest.fail(f"{name} gave {use()}")

    def test_an_exception_in_the_block_loses_nothing(self, store_url: Store) -> None:
        with pytest.raises(ZeroDivisionError), open_store(store_url) as database:
            fill(database)
            1 / 0  # noqa: B018
        with open_store(store_url) as database:
            assert usage(database) == [0.5]

    def test_a_closed_measure_can_be_had_again(self, memory_store: Store) -> None:
        with open_store(memory_store) as database:
            fill(database)
            database.measure("cpu").close()
            database.flush()
            database.refresh()
            again = database.measure("cpu")
            again.write(one_row(time=2, host="a", usage=1.5))
            assert usage(database) == [0.5, 1.5]

    def test_closing_a_measure_releases_its_locks(self, local_store: Store) -> None:
        with open_store(local_store) as first, open_store(local_store) as second:
            fill(first)
            first.measure("cpu").close()
            second.measure("cpu").write(one_row(time=2, host="a", usage=1.5))
            assert usage(second) == [0.5, 1.5]

    @pytest.mark.parametrize("keeps", ["database", "cpu"])
    def test_the_end_of_the_program_closes(self, tmp_path: Path, keeps: str) -> None:
        """Also where only a measure is kept, as in ``measurefs.open(...).create_measure(...)``."""
        program = (
            "import measurefs\n"
            f"database = measurefs.open({str(tmp_path)!r})\n"
            "cpu = database.create_measure('cpu', entity=['host'], fields={'usage': 'float64'})\n"
            "cpu.write({'time': [1], 'host': ['a'], 'usage': [0.5]})\n"
            f"del {'cpu' if keeps == 'database' else 'database'}\n"
        )
        ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert ran.stderr == ""
        with measurefs.open(tmp_path) as database:
            assert usage(database) == [0.5]


class TestSeveralDatabases:
    def test_do_not_mix(self) -> None:
        with (
            measurefs.open(f"memory://{uuid.uuid4().hex}") as first,
            measurefs.open(f"memory://{uuid.uuid4().hex}") as second,
        ):
            fill(first)
            assert second.measures() == []
            fill(second)
            second.measure("cpu").write(one_row(time=1, host="a", usage=9.0))
            assert (usage(first), usage(second)) == ([0.5], [9.0])

    @pytest.mark.parametrize("kind", ["local", "memory"])
    def test_a_table_has_one_writer(self, request: pytest.FixtureRequest, kind: str) -> None:
        store: Store = request.getfixturevalue(f"{kind}_store")
        with open_store(store) as second:
            with open_store(store) as first:
                fill(first)
                with pytest.raises(LockError, match="shard-0/LOCK"):
                    second.measure("cpu").write(one_row(time=2, host="a", usage=1.5))
                assert usage(first) == [0.5]
            assert second.measure("cpu").write(one_row(time=2, host="a", usage=1.5)) == 1
            assert usage(second) == [0.5, 1.5]

    def test_may_share_a_store_by_segments_and_measures(self, store_url: Store) -> None:
        with open_store(store_url) as first, open_store(store_url) as second:
            fill(first)
            second.measure("cpu").write(one_row(time=DAY, host="a", usage=1.5), durable=True)
            second.create_measure("mem", entity=["host"])
            first.refresh()
            assert usage(first) == [0.5, 1.5]
            assert first.measures() == ["cpu", "mem"]
            first.flush()

    def test_a_batch_that_one_table_refuses_is_in_none(self, local_store: Store) -> None:
        """Here since another writer has taken over one of the two tables that the batch belongs in."""
        options = TableOptions(flush_interval=3600.0)
        with open_store(local_store, options=options) as first, open_store(local_store) as second:
            fill(first)
            cpu = first.measure("cpu")
            cpu.write(one_row(time=DAY, host="a"), durable=True)
            (Path(local_store.url) / "cpu/seg-19700102/shard-0/LOCK").unlink()
            second.measure("cpu").write(one_row(time=DAY, host="a", usage=1.5), durable=True)
            with pytest.raises(FencedError):
                cpu.write(one_row(time=DAY, host="a"), durable=True)
            with pytest.raises(FencedError):
                cpu.write({"time": [2, DAY], "host": ["a", "a"]})
            assert values_of(cpu, "time", end=DAY) == [1]

    def test_both_create_the_same_measure(self, memory_store: Store) -> None:
        with open_store(memory_store) as first, open_store(memory_store) as second:
            for database in (first, second):
                database.create_measure("cpu", entity=["host"], exist_ok=True)
            assert first.measures() == second.measures() == ["cpu"]


def test_a_forgotten_result_never_blocks_the_store() -> None:
    """Results that die in reference cycles are collected at any moment, also in the midst of a write."""
    program = (
        "import faulthandler, gc, random, measurefs\n"
        "faulthandler.dump_traceback_later(60, exit=True)\n"
        "db = measurefs.open('memory://x', options=measurefs.TableOptions(gc_grace=0.0))\n"
        "m = db.create_measure('m', entity=['h'], fields={'v': 'int64'})\n"
        "row = {'time': [1], 'h': ['a'], 'v': [1]}\n"
        "m.write(row)\n"
        "class Holder: pass\n"
        "chance = random.Random(1)\n"
        "for step in range(2000):\n"
        "    gc.disable(); gc.collect(0)\n"
        "    holder = Holder(); holder.itself = holder; holder.result = m.query(); del holder\n"
        "    gc.set_threshold(chance.randint(1, 300)); gc.enable()\n"
        "    m.write(row)\n"
        "    if step % 100 == 0: m.flush(); m.gc()\n"
        "db.close()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_options_reach_the_tables(memory_store: Store) -> None:
    options = TableOptions(part=measurefs.PartOptions(compact_bytes=0), gc_grace=0.0)
    with open_store(memory_store, options=options) as database:
        fill(database)
        database.flush()
        assert any(path.endswith("/metadata.json") for path in files_of(open_url(memory_store.url)))
        assert len(rows_of(database.measure("cpu"))) == 1
