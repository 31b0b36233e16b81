"""What must hold while several clients and threads work at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from measurefs.fs import ExistError, FileSystem, join
from measurefs.testing.harness import RawAccess, Suite, names_in, put_all, succeed, together

CONTENTS: dict[str, Callable[[int], bytes]] = {
    "different contents": lambda number: b"writer %d" % number,
    "the same content": lambda _: b"the same",
    "empty contents": lambda _: b"",
}


class RaceRules(Suite):
    """Atomic replacement, exclusive creation, and threads in general."""

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
    def test_exclusive_write_race(
        self, fs: FileSystem, another: FileSystem, raw: RawAccess, content: Callable[[int], bytes]
    ) -> None:
        """Of any number of exclusive writers of a path exactly one succeeds, and it is that one's content."""
        fs.make_dir("d")
        for round_ in range(5):
            path = f"d/{round_}"
            writers = [
                partial(client.write, path, content(number), exclusive=True)
                for number, client in enumerate([fs, another] * (self.racers // 2))
            ]
            outcomes = together(writers)
            winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
            assert len(winners) == 1, outcomes
            assert sum(isinstance(outcome, ExistError) for outcome in outcomes) == len(writers) - 1
            assert raw.get(path) == content(winners[0])
        assert raw.names() == {f"d/{round_}" for round_ in range(5)}

    def test_create_file_race(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """Files being created race exclusive writers, and each other, by the same rule."""

        def create(client: FileSystem, path: str, data: bytes) -> int:
            with client.create_file(path) as file:
                return file.writev([data[:3], data[3:]])

        fs.make_dir("d")
        for round_ in range(5):
            path = f"d/{round_}"
            contents = [b"writer %d" % number for number in range(self.racers)]
            calls = [
                partial(create, (fs, another)[number // 2 % 2], path, data)
                if number % 2
                else partial((fs, another)[number // 2 % 2].write, path, data, exclusive=True)
                for number, data in enumerate(contents)
            ]
            outcomes = together(calls)
            winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
            assert len(winners) == 1, outcomes
            assert sum(isinstance(outcome, ExistError) for outcome in outcomes) == len(calls) - 1
            assert raw.get(path) == contents[winners[0]]
        assert raw.names() == {f"d/{round_}" for round_ in range(5)}

    def test_replacing_is_atomic(self, fs: FileSystem, another: FileSystem) -> None:
        """Readers see one version or the next, whole, and never an earlier one again."""
        versions = [bytes([number]) * (1 + 10_007 * (number % 7)) for number in range(self.rounds)]
        fs.write("file", versions[0])
        written = threading.Event()

        def replace() -> None:
            try:
                for version in versions:
                    fs.write("file", version)
            finally:
                written.set()

        def watch(client: FileSystem) -> None:
            last = 0
            while not written.is_set():
                seen = client.read("file")
                assert seen in versions, "a reader saw part of a file"
                assert versions.index(seen) >= last, "a reader saw an old version again"
                last = versions.index(seen)

        succeed([replace, partial(watch, another), partial(watch, fs)])
        assert another.read("file") == versions[-1]

    def test_listing_keeps_what_stays(self, fs: FileSystem, another: FileSystem) -> None:
        """A file that is there all the time is in every listing, whatever comes and goes around it."""
        stable = [f"{number}-stable" for number in range(5)]
        put_all(fs, *(join("d", name) for name in stable))
        churned = threading.Event()

        def churn() -> None:
            try:
                for number in range(self.rounds):
                    path = f"d/{number % 5}-passing"
                    fs.write(path, b"x" * number)
                    fs.write("d/2-stable", b"x" * number)
                    fs.delete_file(path)
            finally:
                churned.set()

        def watch() -> None:
            while not churned.is_set():
                names = names_in(another, "d")
                assert names == sorted(names)
                assert [name for name in names if name.endswith("stable")] == stable
                assert len(names) <= len(stable) + 1, "more is listed than ever was there"

        succeed([churn, watch])
        assert names_in(another, "d") == stable

    def test_reading_one_file_from_many_threads(self, fs: FileSystem) -> None:
        """An open file may be read by all threads at the same time."""
        content = b"".join(b"%07d\n" % number for number in range(10_000))
        put_all(fs, "d/file", data=content)

        def read(first: int) -> None:
            for number in range(first, first + 500, 10):
                assert file.read(8 * number, 8) == b"%07d\n" % number

        with fs.open_file("d/file") as file:
            succeed([partial(read, 1_000 * number) for number in range(self.racers)])

    def test_threads_do_not_disturb_each_other(self, fs: FileSystem, another: FileSystem) -> None:
        """Every method works in every thread as if it were alone."""

        def work(client: FileSystem, directory: str) -> None:
            for number in range(self.rounds // 2):
                below = join(directory, str(number))
                client.make_dir(below)
                path = join(below, "file")
                data = f"{path} ".encode() * 500
                client.write(path, data, exclusive=True)
                client.write_all({path + "-1": data, path + "-2": b""})
                with client.create_file(path + "-3") as file:
                    file.write(data)
                assert names_in(client, below) == ["file", "file-1", "file-2", "file-3"]
                assert client.read(path) == client.read(path + "-3") == data
                assert client.read_ranges([(path, 5, 7), (path + "-1", 0, 3)]) == [data[5:12], data[:3]]
                with client.open_file(path) as file:
                    assert file.size() == len(data)
                client.sync_path(below)
                client.delete_file(path)
                with client.create_lock_file(join(below, "LOCK")) as lock:
                    lock.check()
                client.must_rm_all(below)

        clients = [fs, another] * (self.racers // 2)
        succeed([partial(work, client, f"worker-{number}") for number, client in enumerate(clients)])
        assert [name for client in (fs, another) for name in names_in(client) if "worker" not in name] == []
