"""Tags of a table: what is tagged stays as it was, whatever happens to the table, until the tag is removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from measurefs.fs import FencedError, FileSystem
from measurefs.fs.errors import CorruptionError, SchemaError
from measurefs.table import TsTable
from measurefs.table.epochs import snapshot_name
from measurefs.table.garbage import superseded
from measurefs.table.history import Moment, look_back
from measurefs.table.options import Runtime
from measurefs.table.repair import repair_table
from measurefs.table.tags import TagName, parse_tag, tagged_epochs
from measurefs.table.verify import verify_table
from measurefs.testing import CrashFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.part.made import EVER
from tests.table.tables import (
    ROOT,
    Contents,
    contents,
    contents_of,
    names_in,
    one,
    ones,
    open_table,
    parts_in,
    stored,
)

NAMES = [
    "before",
    "1.0-rc+1",
    "größer/kleiner",
    "a.tag",
    "..",
    "CON",
    " with space ",
    "-",
    "0123456789abcdef-x",
]


@pytest.fixture(params=["memory", "local"])
def fs(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    store: Store = request.getfixturevalue(f"{request.param}_store")
    with store.open() as opened:
        yield opened


def add(table: TsTable, *numbers: int) -> None:
    """Add a part, and a snapshot, for each number."""
    for number in numbers:
        table.add(one(number))
        table.flush()


def at(table: TsTable, **moment: int) -> Contents:
    """What a table held at a moment."""
    with table.at(Moment(**moment)) as snapshot:
        return contents_of(table.fs, snapshot)


def tagged(table: TsTable, name: str) -> Contents:
    """What a tag keeps."""
    return at(table, kept=table.tags()[name])


# Names.


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_tags_file_says_all(name: str) -> None:
    tag = TagName(0x10000000002, name)
    assert parse_tag(tag.file) == tag
    assert "/" not in tag.file
    assert tagged_epochs([tag.file, snapshot_name(7), "LOCK"]) == {0x10000000002}


@pytest.mark.parametrize(
    "name",
    [
        "0000010000000002.snp",
        "0000010000000002.part",
        "0000010000000002-.tag",
        "0000010000000002-a.tag.corrupt",
        "0000010000000002-a%2e.tag",
        "0000010000000002-ü.tag",
        "0000010000000002-\udcff.tag",
        "10000000002-a.tag",
        "LOCK",
    ],
)
def test_other_names_are_no_tags(name: str) -> None:
    assert parse_tag(name) is None


def test_tagged_snapshots_are_never_superseded() -> None:
    assert superseded([1, 2, 3, 4, 5], 5, 2, {2}) == [1, 3]
    assert superseded([1, 2, 3], 3, 1, {1, 2, 3}) == []
    assert superseded([1, 2, 3], 3, 1) == [1, 2]


# Keeping.


def test_a_tag_keeps_exactly_its_rows(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        table.add(one(1))
        add(table, 2)
        table.add(one(3))  # in memory
        table.tag("then")
        table.add(one(4))
        assert tagged(table, "then") == ones(1, 2, 3)
        for number in (1, 2, 3, 5):  # the same keys again
            add(table, number)
            table.gc()
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 6)
        table.gc()
        assert tagged(table, "then") == ones(1, 2, 3)
        assert contents(table) == ones(1, 2, 3, 4, 5, 6)
    with open_table(fs, read_only=True) as reader:
        assert tagged(reader, "then") == ones(1, 2, 3)


def test_a_tag_keeps_its_rows_through_compaction_and_deletion(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1, 2, 3)
        table.tag("parts")
        table.compact()
        table.tag("one part")
        add(table, 4)
        table.delete(2, 3)
        table.compact()
        table.gc()
        assert contents(table) == ones(1, 3, 4)
        for name, count in {"parts": 3, "one part": 1}.items():
            with table.at(Moment(kept=table.tags()[name])) as snapshot:
                assert len(snapshot.parts) == count
                assert contents_of(fs, snapshot) == ones(1, 2, 3)
        table.untag("parts")
        table.gc()
        assert len(parts_in(fs)) == 2
        assert verify_table(fs, ROOT).ok


def test_what_a_tag_kept_is_collected_when_the_last_is_gone(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1)
        for name in NAMES:
            table.tag(name)
        assert table.tags() == dict.fromkeys(NAMES, table.stats()["committed_epoch"])
        table.delete(*EVER)
        add(table, 2)
        table.gc()
        for name in NAMES:
            assert tagged(table, name) == ones(1)
            table.untag(name)
            table.untag(name)  # nothing to do
            table.gc()
        assert len(names_in(fs)) == 2
        assert contents(table) == ones(2)


def test_a_tag_of_an_empty_table_is_of_no_rows(fs: FileSystem) -> None:
    with open_table(fs) as table:
        table.tag("empty")
        add(table, 1, 2, 3)
        table.gc()
        assert tagged(table, "empty") == {}


def test_content_of_a_tags_file_does_not_matter(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1)
        table.tag("a")
        (name,) = names_in(fs, ".tag")
        fs.write(f"{ROOT}/{name}", b"\xff\x00 nonsense")
        add(table, 2, 3)
        table.gc()
        assert tagged(table, "a") == ones(1)
        assert verify_table(fs, ROOT).ok


def test_a_name_is_given_once(fs: FileSystem) -> None:
    with open_table(fs) as table:
        table.tag("Release")
        with pytest.raises(SchemaError, match="untag it first"):
            table.tag("Release")
        with pytest.raises(SchemaError, match="only in case"):
            table.tag("release")
        for bad in ("", "\ud800", "x" * 201):
            with pytest.raises(SchemaError, match=r"a tag needs a name|too long"):
                table.tag(bad)
        assert list(table.tags()) == ["Release"]


def test_collection_waits_for_a_tag_that_is_being_made(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1)
        tagger = table.tagger
        with tagger.paused() as settle, table.pin() as snapshot:
            table.add(one(2))  # after the moment
            epoch = settle(snapshot)
        table.delete(*EVER)
        add(table, 3)
        table.gc()
        tagger.keep("a", epoch)
        tagger.let_go(epoch)
        table.gc()
        assert tagged(table, "a") == ones(1)


def test_a_tag_keeps_what_was_pinned_though_it_is_replaced_meanwhile(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1)
        table.add(one(2))
        with table.tagger.paused() as settle, table.pin() as snapshot:
            table._introducer.introduce(lambda current, _: current.memory_parts)  # as if 1 had been deleted
            epoch = settle(snapshot)
        table.tagger.keep("a", epoch)
        table.tagger.let_go(epoch)
        table.flush()
        table.gc()
        assert tagged(table, "a") == ones(1, 2)
        assert contents(table) == ones(2)
    assert stored(fs) == ones(2)


def test_a_tag_is_durable_when_it_is_made() -> None:
    fs = CrashFileSystem()
    table = open_table(fs)
    add(table, 1)
    epoch = table.tag("a")
    with open_table(fs.crash("none"), read_only=True) as found:
        assert found.tags() == {"a": epoch}
        assert tagged(found, "a") == ones(1)
    table.untag("a")
    with open_table(fs.crash("none"), read_only=True) as found:
        assert found.tags() == {}


def test_no_tag_is_made_by_who_is_not_the_writer_any_more() -> None:
    fs = CrashFileSystem()
    stalled = open_table(fs)
    add(stalled, 1)
    fs.break_locks()
    with open_table(fs), pytest.raises(FencedError):
        stalled.tag("late")
    stalled.abandon()


# Going back.


def ticking(table_time: list[int]) -> Runtime:
    return Runtime(now=lambda: table_time[0])


def test_epochs_and_times_find_the_commit_that_showed_them(fs: FileSystem) -> None:
    time = [0]
    with open_table(fs, keep_snapshots=100, runtime=ticking(time)) as table:
        epochs = []
        for number in (1, 2, 3):
            time[0] = number * 1000
            add(table, number)
            epochs.append(table.stats()["committed_epoch"])
        table.add(one(4))
        for number, epoch in enumerate(epochs, start=1):
            rows = ones(*range(1, number + 1))
            assert at(table, epoch=epoch) == rows
            assert at(table, epoch=epoch + 1) == rows  # nothing was committed between
            assert at(table, time=number * 1000) == rows
            assert at(table, time=number * 1000 + 999) == rows
        assert at(table, time=999) == {}  # the empty table that was opened first
        assert at(table, time=-1) == {}  # nor was there any before
        assert at(table, epoch=0) == {}
        with table.at(Moment(time=2500)) as snapshot:
            assert (snapshot.epoch, snapshot.time) == (epochs[1], 2000)


def test_what_has_been_collected_is_an_error_that_says_what_there_is(fs: FileSystem) -> None:
    time = [0]
    with open_table(fs, keep_snapshots=2, runtime=ticking(time)) as table:
        for number in range(1, 8):
            time[0] = number * 1_000_000_000
            add(table, number)
            if number == 2:
                kept = table.tag("two")
        table.gc()
        newest = table.stats()["committed_epoch"]
        assert at(table, time=6_500_000_000) == ones(*range(1, 7))
        assert at(table, epoch=kept) == ones(1, 2)
        for moment in ({"time": 2_500_000_000}, {"time": 5_999_999_999}, {"epoch": kept + 1}, {"time": 1}):
            with pytest.raises(SchemaError) as refused:
                at(table, **moment)
            told = str(refused.value)
            for part in (str(newest), str(kept), "1970-01-01T00:00:06", "'two'", "collected"):
                assert part in told, told


def test_what_is_read_of_the_past_is_not_collected_meanwhile(fs: FileSystem) -> None:
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1, 2)
        table.tag("a")
        with table.pin() as now:
            live = {part.id: part for part in now.parts}
            past = table.at(Moment(kept=table.tags()["a"]))
            assert all(part is live[part.id] for part in past.parts), "open parts serve for the past, too"
        table.delete(*EVER)
        add(table, 3)
        table.untag("a")
        table.gc()
        assert contents_of(fs, past) == ones(1, 2)
        assert len(parts_in(fs)) == 3
        past.release()
        table.gc()
        assert len(parts_in(fs)) == 1


# Damage.


def damaged_table(fs: FileSystem) -> TagName:
    """A table with a tag of three parts, none of which the newest snapshot names."""
    with open_table(fs, keep_snapshots=1) as table:
        add(table, 1, 2, 3)
        epoch = table.tag("a")
        table.delete(*EVER)
        add(table, 4)
        table.gc()
    return TagName(epoch, "a")


def test_verify_knows_tags_and_reports_what_they_miss(fs: FileSystem) -> None:
    tag = damaged_table(fs)
    report = verify_table(fs, ROOT)
    assert (report.ok, report.foreign, report.unnamed, report.parts) == (True, 0, 0, 4)
    lost = parts_in(fs)[1]
    fs.delete_file(f"{ROOT}/{lost}")
    assert [damage.path for damage in verify_table(fs, ROOT).damages] == [f"{ROOT}/{lost}"]
    with open_table(fs, read_only=True) as table, pytest.raises(CorruptionError, match=lost):
        table.at(Moment(kept=tag.epoch))
    fs.delete_file(f"{ROOT}/{snapshot_name(tag.epoch)}")
    (damage,) = verify_table(fs, ROOT).damages
    assert damage.path == f"{ROOT}/{tag.file}"
    assert f"{tag.epoch:016x}" in damage.reason
    assert stored(fs) == ones(4)


def test_repair_lets_a_tag_keep_what_there_is(fs: FileSystem) -> None:
    tag = damaged_table(fs)
    fs.delete_file(f"{ROOT}/{parts_in(fs)[1]}")
    assert repair_table(fs, ROOT, lambda: 1, apply=True).complete
    assert verify_table(fs, ROOT).ok
    assert stored(fs) == ones(4)
    with open_table(fs, keep_snapshots=1) as table:
        table.gc()
        assert tagged(table, "a") == ones(1, 3)
    past = look_back(fs, ROOT, Moment(kept=tag.epoch), whole=False)
    assert (len(past.parts), past.damaged) == (2, [])


@pytest.mark.parametrize("there", [True, False], ids=["torn", "missing"])
def test_repair_sets_a_tag_aside_whose_snapshot_is_lost(fs: FileSystem, there: bool) -> None:
    tag = damaged_table(fs)
    path = f"{ROOT}/{snapshot_name(tag.epoch)}"
    if there:
        fs.write(path, fs.read(path)[:-20])
    else:
        fs.delete_file(path)
    assert not verify_table(fs, ROOT).ok
    assert repair_table(fs, ROOT, lambda: 1, apply=True).complete
    report = verify_table(fs, ROOT)
    assert (report.ok, report.set_aside) == (True, 2 if there else 1)
    with open_table(fs, keep_snapshots=1) as table:
        assert table.tags() == {}
        table.gc()
    assert stored(fs) == ones(4)


# Crashes.


def prepared() -> tuple[CrashFileSystem, TsTable]:
    fs = CrashFileSystem()
    table = open_table(fs, keep_snapshots=1)
    add(table, 1)
    table.tag("old")
    add(table, 2)
    table.add(one(3))
    return fs, table


def work(table: TsTable) -> None:
    table.tag("new")
    add(table, 4)
    table.gc()
    table.untag("old")
    table.gc()


def operations() -> tuple[int, int]:
    fs, table = prepared()
    first = fs.operations
    work(table)
    return first, fs.operations


def test_a_crash_at_any_operation_leaves_a_tag_whole_or_not_there() -> None:
    first, last = operations()
    seen = set()
    for number in range(first + 1, last + 1):
        for after in (False, True):
            fs, table = prepared()
            fs.crash_at(number, after=after)
            with contextlib.suppress(SimulatedCrash):
                work(table)
            for found in (fs.crash("none"), fs.crash("all"), fs.crash(number)):
                with open_table(found, keep_snapshots=1) as opened:
                    opened.gc()
                    tags = opened.tags()
                    seen.add(tuple(sorted(tags)))
                    for name, rows in {"old": ones(1), "new": ones(1, 2, 3)}.items():
                        if name in tags:
                            assert tagged(opened, name) == rows, (number, after, name)
                    opened.untag("new")
                    opened.tag("new")
                    assert tagged(opened, "new") == contents(opened)
                assert verify_table(found, ROOT).ok
    assert seen == {("old",), ("new", "old"), ("new",)}
