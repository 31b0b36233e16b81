"""Files: written whole or in pieces, read whole or in ranges."""

from __future__ import annotations

import array
import random

import pytest

from measurefs.fs import (
    Buffer,
    ExistError,
    File,
    FileSystem,
    FileSystemError,
    NotExistError,
    OpenError,
    ReadError,
    WriteError,
)
from measurefs.testing.harness import RawAccess, Suite, names_in, numbered, put_all, refused

DIGITS = b"0123456789"
LARGE = random.Random(1).randbytes((1 << 20) + 13)

BUFFERS: dict[str, tuple[Buffer, bytes]] = {
    "bytes": (DIGITS, DIGITS),
    "bytearray": (bytearray(DIGITS), DIGITS),
    "memoryview": (memoryview(DIGITS), DIGITS),
    "a slice of a memoryview": (memoryview(DIGITS)[2:5], b"234"),
    "a memoryview of wider items": (
        memoryview(array.array("d", [1.5, 2.5])),
        array.array("d", [1.5, 2.5]).tobytes(),
    ),
    "an empty memoryview": (memoryview(b""), b""),
    "an empty memoryview of wider items": (memoryview(array.array("d")), b""),
    "all byte values": (bytes(range(256)), bytes(range(256))),
    "more than a mebibyte": (LARGE, LARGE),
}

each_buffer = pytest.mark.parametrize(("data", "content"), BUFFERS.values(), ids=BUFFERS)


class Interruption(Exception):  # noqa: N818 - it is no error
    """What a test raises inside a ``with`` block."""


class FileRules(Suite):
    """`write`, `write_all`, `read`, `create_file`, `open_file` and `read_ranges`."""

    def new_file(self, fs: FileSystem, data: bytes = DIGITS) -> File:
        """Store a file and open it."""
        put_all(fs, "d/file", data=data)
        return fs.open_file("d/file")

    # write

    @each_buffer
    def test_write(
        self, fs: FileSystem, another: FileSystem, raw: RawAccess, data: Buffer, content: bytes
    ) -> None:
        """A whole file is stored as it was given, and the number of its bytes returned."""
        fs.make_dir("d")
        assert fs.write("d/file", data) == len(content)
        assert raw.names() == {"d/file"}
        assert raw.get("d/file") == content
        assert fs.read("d/file") == another.read("d/file") == content

    @each_buffer
    def test_write_exclusive(self, fs: FileSystem, raw: RawAccess, data: Buffer, content: bytes) -> None:
        """So it is when it must be new, and then it stays."""
        assert fs.write("file", data, exclusive=True) == len(content)
        with refused(ExistError, "file", "write"):
            fs.write("file", data, exclusive=True)
        assert raw.names() == {"file"}
        assert raw.get("file") == content

    def test_write_replaces(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """An existing file is replaced, by a longer, a shorter or an empty one."""
        for content in (b"one", b"two, longer", b"3", b"", LARGE, b"end"):
            fs.write("file", content)
            assert another.read("file") == raw.get("file") == content
            with another.open_file("file") as file:
                assert file.size() == len(content)
        assert raw.names() == {"file"}

    @pytest.mark.parametrize("content", [b"first", b""], ids=["full", "empty"])
    def test_write_exclusive_existing(
        self, fs: FileSystem, another: FileSystem, raw: RawAccess, content: bytes
    ) -> None:
        """What is there, by anybody's hand, is neither replaced nor taken for one's own."""
        raw.put("d/put", content)
        another.write("d/written", content)
        for path in ("d/put", "d/written"):
            for data in (content, b"second"):
                with refused(ExistError, path, "write"):
                    fs.write(path, data, exclusive=True)
            assert raw.get(path) == content
        with pytest.raises(FileExistsError):
            fs.write("d/put", b"", exclusive=True)
        assert raw.names() == {"d/put", "d/written"}

    def test_write_exclusive_over_directory(self, fs: FileSystem) -> None:
        """A directory's name is taken."""
        self.needs_directories()
        put_all(fs, "d/file")
        with refused(ExistError, "d", "write"):
            fs.write("d", b"x", exclusive=True)

    def test_write_over_directory(self, fs: FileSystem, raw: RawAccess) -> None:
        """A directory is not replaced by a file, not even an empty one."""
        self.needs_directories()
        put_all(fs, "d/file")
        fs.make_dir("empty")
        for path in ("d", "empty"):
            with refused(FileSystemError, path, "write"):
                fs.write(path, b"x")
        assert raw.names() == {"d/file"}
        assert names_in(fs) == ["d", "empty"]

    @pytest.mark.parametrize("exclusive", [False, True])
    def test_write_without_directory(self, fs: FileSystem, raw: RawAccess, exclusive: bool) -> None:
        """Directories are not made on the way."""
        self.needs_directories()
        put_all(fs, "file")
        for path in ("d/file", "d/e/file", "file/below"):
            with refused(NotExistError, path, "write"):
                fs.write(path, b"x", exclusive=exclusive)
        with pytest.raises(FileNotFoundError):
            fs.write("d/file", b"x", exclusive=exclusive)
        assert raw.names() == {"file"}
        assert names_in(fs) == ["file"]

    def test_write_copies(self, fs: FileSystem) -> None:
        """A buffer belongs to the caller again once the call returns."""
        buffer = bytearray(DIGITS)
        fs.write("written", buffer)
        fs.write_all({"all-1": buffer, "all-2": memoryview(buffer)})
        with fs.create_file("created") as file:
            file.write(buffer)
            file.writev([buffer, memoryview(buffer)])
            buffer[:] = b"x" * len(buffer)
        assert fs.read("created") == DIGITS * 3
        assert fs.read_ranges([(path, 0, 10) for path in ("written", "all-1", "all-2")]) == [DIGITS] * 3

    # write_all

    def test_write_all(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """Many files at once are stored as by as many calls of `write`."""
        put_all(fs, "d/file-00003", data=b"old")
        files = numbered("d", 50) | {"d/large": LARGE, "d/empty": b""}
        fs.write_all(files)
        assert raw.names() == set(files)
        assert {path: another.read(path) for path in files} == files

    def test_write_all_of_nothing_and_of_one(self, fs: FileSystem, raw: RawAccess) -> None:
        """None and one are numbers, too."""
        fs.write_all({})
        assert raw.names() == set()
        fs.write_all({"file": b"x"})
        assert raw.get("file") == b"x"

    def test_write_all_fails(self, fs: FileSystem, raw: RawAccess) -> None:
        """One that cannot be written is an error; what is there of the others is whole."""
        self.needs_directories()
        fs.make_dir("d")
        files = numbered("d", 5)
        with refused(NotExistError, "missing/file", "write", "write_all"):
            fs.write_all(files | {"missing/file": b"x"})
        assert all(raw.get(path) == files[path] for path in raw.names())

    # read

    def test_read_missing(self, fs: FileSystem) -> None:
        """A missing file is an error, and the matching built-in."""
        put_all(fs, "d/file")
        for path in ("missing", "d/missing", "missing/file", "d/file/below", "d/fil", "d/file-2"):
            with refused(NotExistError, path, "read"):
                fs.read(path)
            with refused(NotExistError, path, "open_file"):
                fs.open_file(path)
        with pytest.raises(FileNotFoundError):
            fs.open_file("missing")

    def test_read_directory(self, fs: FileSystem) -> None:
        """A directory is no file."""
        put_all(fs, "d/file")
        kinds = (OpenError, ReadError) if self.directories else (OpenError, ReadError, NotExistError)
        with refused(kinds, "d", "read"):
            fs.read("d")
        with refused(kinds, "d", "open_file"):
            fs.open_file("d")

    def test_read_what_was_put(self, fs: FileSystem, raw: RawAccess) -> None:
        """What came into the store by another way is read."""
        raw.put("d/file", LARGE)
        assert fs.read("d/file") == LARGE
        with fs.open_file("d/file") as file:
            assert file.read(1 << 20, 100) == LARGE[1 << 20 :]
        raw.put("d/file", b"changed")
        assert fs.read("d/file") == b"changed"

    # create_file

    def test_create_file(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """What is appended is the file's content once it is closed."""
        fs.make_dir("d")
        with fs.create_file("d/file") as file:
            assert file.path == "d/file"
            assert file.write(b"one") == 3
            assert file.writev([b"two", bytearray(b"three"), memoryview(b"-four-")[1:-1], b""]) == 12
            assert file.writev([]) == 0
            assert file.size() == 15
        assert raw.names() == {"d/file"}
        assert another.read("d/file") == raw.get("d/file") == b"onetwothreefour"

    @each_buffer
    def test_create_file_buffers(self, fs: FileSystem, raw: RawAccess, data: Buffer, content: bytes) -> None:
        """Any buffer will do, small or large, in any order."""
        with fs.create_file("file") as file:
            file.write(b"<")
            assert file.write(data) == len(content)
            assert file.writev([b"|", data]) == 1 + len(content)
        assert raw.get("file") == b"<" + content + b"|" + content

    def test_create_file_many_pieces(self, fs: FileSystem) -> None:
        """Many small pieces and a few large ones add up."""
        pieces = [b"%d," % number for number in range(5_000)]
        with fs.create_file("file") as file:
            for piece in pieces:
                file.write(piece)
            file.write(LARGE)
            file.write(b"end")
        assert fs.read("file") == b"".join([*pieces, LARGE, b"end"])

    def test_create_file_empty(self, fs: FileSystem, raw: RawAccess) -> None:
        """A file nothing was written to is an empty file."""
        with fs.create_file("file"):
            pass
        assert raw.names() == {"file"}
        assert fs.read("file") == b""

    def test_create_file_existing(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """What is there is not created again."""
        put_all(another, "d/file", data=b"old")
        with refused(ExistError, "d/file"), fs.create_file("d/file") as file:
            file.write(b"new")
        assert raw.names() == {"d/file"}
        assert fs.read("d/file") == b"old"

    def test_create_file_without_directory(self, fs: FileSystem) -> None:
        """Directories are not made on the way."""
        self.needs_directories()
        put_all(fs, "file")
        for path in ("d/file", "file/below"):
            with refused(NotExistError, path, "create_file"):
                fs.create_file(path)
        assert names_in(fs) == ["file"]

    def test_create_file_hides_what_is_unfinished(self, fs: FileSystem, another: FileSystem) -> None:
        """Nobody sees half of a file: until it is closed, nothing of it."""
        fs.make_dir("d")
        put_all(fs, "d/other")
        with fs.create_file("d/file") as file:
            file.write(LARGE)
            for client in (fs, another):
                assert names_in(client, "d") == ["other"]
                with refused(NotExistError, "d/file"):
                    client.read("d/file")
                with refused(NotExistError, "d/file"):
                    client.open_file("d/file")
        assert names_in(another, "d") == ["file", "other"]

    def test_create_file_interrupted(self, fs: FileSystem, raw: RawAccess) -> None:
        """An exception inside the block publishes nothing and leaves nothing; the name stays free."""
        put_all(fs, "d/other")
        for data in (b"small", LARGE, b""):
            with pytest.raises(Interruption), fs.create_file("d/file") as file:
                file.write(data)
                raise Interruption
            assert raw.names() == {"d/other"}
            file.close()
            assert raw.names() == {"d/other"}
        with fs.create_file("d/file") as file:
            file.write(b"whole")
        assert fs.read("d/file") == b"whole"

    def test_create_file_discarded(self, fs: FileSystem, raw: RawAccess) -> None:
        """So does discarding, and discarding comes too late after closing."""
        file = fs.create_file("file")
        file.write(b"x")
        file.discard()
        file.discard()
        file.close()
        assert raw.names() == set()
        file = fs.create_file("file")
        file.write(b"y")
        file.close()
        file.discard()
        assert fs.read("file") == b"y"

    def test_create_file_loses(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """Whoever finds on closing that another was first leaves that one's file alone."""
        for number, data in enumerate((b"theirs", b"")):
            path = f"file-{number}"
            file = fs.create_file(path)
            file.write(b"mine")
            another.write(path, data, exclusive=True)
            with refused(ExistError, path):
                file.close()
            file.close()
            assert raw.get(path) == data
        assert raw.names() == {"file-0", "file-1"}

    def test_create_file_closed(self, fs: FileSystem) -> None:
        """A closed file takes nothing more, and may be closed again."""
        file = fs.create_file("file")
        file.write(b"x")
        file.close()
        file.close()
        for call in (
            lambda: file.write(b"y"),
            lambda: file.writev([b"y"]),
            file.size,
            lambda: file.read(0, 1),
        ):
            with refused(FileSystemError, "file"):
                call()
        assert fs.read("file") == b"x"

    def test_create_file_is_not_for_reading(self, fs: FileSystem) -> None:
        """A file being written cannot be read."""
        with fs.create_file("file") as file:
            file.write(b"x")
            with refused(ReadError, "file", "read"):
                file.read(0, 1)

    def test_several_files_at_once(self, fs: FileSystem) -> None:
        """Several files may be open, each with its own content."""
        fs.make_dir("d")
        files = [fs.create_file(f"d/{number}") for number in range(5)]
        for round_ in range(3):
            for number, file in enumerate(files):
                file.write(b"%d-%d " % (number, round_))
        for file in reversed(files):
            file.close()
        assert [fs.read(f"d/{number}") for number in (0, 4)] == [b"0-0 0-1 0-2 ", b"4-0 4-1 4-2 "]

    # open_file

    @pytest.mark.parametrize(
        ("offset", "size", "expected"),
        [
            (0, 10, DIGITS),
            (0, 1, b"0"),
            (3, 4, b"3456"),
            (9, 1, b"9"),
            (8, 4, b"89"),
            (0, 100, DIGITS),
            (10, 1, b""),
            (100, 5, b""),
            (0, 0, b""),
            (5, 0, b""),
            (100, 0, b""),
        ],
    )
    def test_file_read(self, fs: FileSystem, offset: int, size: int, expected: bytes) -> None:
        """A range is read exactly, cut off where the file ends, empty beyond its end."""
        with self.new_file(fs) as file:
            assert file.read(offset, size) == expected

    def test_file_readv(self, fs: FileSystem) -> None:
        """Several ranges are read each like one."""
        with self.new_file(fs) as file:
            assert file.readv([(8, 4), (0, 2), (0, 2), (50, 1), (1, 0)]) == [b"89", b"01", b"01", b"", b""]
            assert file.readv([]) == []

    @pytest.mark.parametrize("chunk_size", [1, 3, 5, 10, 11, 1 << 20])
    def test_file_stream_read(self, fs: FileSystem, chunk_size: int) -> None:
        """A stream gives the whole file in chunks of the size asked for, the last as long as it is."""
        with self.new_file(fs) as file:
            chunks = list(file.stream_read(chunk_size))
        assert chunks == [DIGITS[start : start + chunk_size] for start in range(0, 10, chunk_size)]

    def test_file_stream_read_twice(self, fs: FileSystem) -> None:
        """Two streams of a file do not disturb each other, and reads do not either."""
        with self.new_file(fs) as file:
            first, second = file.stream_read(4), file.stream_read(6)
            assert [next(first), next(second), file.read(9, 1), next(first), next(second)] == [
                b"0123",
                b"012345",
                b"9",
                b"4567",
                b"6789",
            ]

    def test_file_empty(self, fs: FileSystem) -> None:
        """An empty file has nothing to read."""
        with self.new_file(fs, b"") as file:
            assert file.size() == 0
            assert file.read(0, 10) == b""
            assert list(file.stream_read(4)) == []

    def test_file_large(self, fs: FileSystem) -> None:
        """A large file is read right at any place."""
        with self.new_file(fs, LARGE) as file:
            assert file.size() == len(LARGE)
            assert file.read(1 << 19, 1 << 18) == LARGE[1 << 19 :][: 1 << 18]
            assert file.read(1, len(LARGE) * 2) == LARGE[1:]
            assert b"".join(file.stream_read(100_003)) == LARGE

    def test_file_path_and_size(self, fs: FileSystem) -> None:
        """A file knows its path and its size, even when its name is gone."""
        with self.new_file(fs) as file:
            assert (file.path, file.size()) == ("d/file", 10)
            fs.delete_file("d/file")
            assert (file.path, file.size()) == ("d/file", 10)

    def test_file_is_not_for_writing(self, fs: FileSystem) -> None:
        """A file open for reading cannot be written."""
        with self.new_file(fs) as file:
            with refused(WriteError, "d/file", "write"):
                file.write(b"x")
            with refused(WriteError, "d/file", "write"):
                file.writev([b"x"])
        assert fs.read("d/file") == DIGITS

    def test_file_closed(self, fs: FileSystem) -> None:
        """A closed file gives nothing more, and may be closed again."""
        file = self.new_file(fs)
        file.close()
        file.close()
        file.discard()
        calls = (
            lambda: file.read(0, 1),
            lambda: file.readv([(0, 1)]),
            lambda: list(file.stream_read(1)),
            file.size,
            lambda: file.write(b"x"),
        )
        for call in calls:
            with refused(FileSystemError, "d/file"):
                call()

    def test_file_survives_exceptions(self, fs: FileSystem) -> None:
        """An exception in the block of a file being read closes it and changes nothing."""
        with pytest.raises(Interruption), self.new_file(fs) as file:
            raise Interruption
        with refused(FileSystemError, "d/file", "read"):
            file.read(0, 1)
        assert fs.read("d/file") == DIGITS

    # read_ranges

    def test_read_ranges_keeps_order(self, fs: FileSystem) -> None:
        """Ranges come back in the order asked for, be they unsorted, repeated, overlapping or empty."""
        put_all(fs, "d/a", data=DIGITS)
        put_all(fs, "d/b", data=b"abcdef")
        asked = [
            ("d/b", 4, 2),
            ("d/a", 8, 2),
            ("d/a", 0, 3),
            ("d/b", 0, 6),
            ("d/a", 2, 5),
            ("d/a", 0, 3),
            ("d/a", 5, 0),
            ("d/a", 3, 1),
            ("d/b", 1, 1),
            ("d/a", 0, 10),
        ]
        expected = [b"ef", b"89", b"012", b"abcdef", b"23456", b"012", b"", b"3", b"b", DIGITS]
        assert fs.read_ranges(asked) == expected

    def test_read_ranges_of_nothing(self, fs: FileSystem) -> None:
        """No ranges are no work."""
        assert fs.read_ranges([]) == []

    def test_read_ranges_far_apart(self, fs: FileSystem) -> None:
        """Neither wide gaps nor long ranges nor many of them make a difference."""
        put_all(fs, "d/file", data=LARGE)
        chance = random.Random(2)
        asked = [("d/file", chance.randrange(1 << 20), chance.choice([0, 1, 13])) for _ in range(300)]
        asked += [("d/file", 0, len(LARGE)), ("d/file", 1, 300_000), ("d/file", len(LARGE) - 1, 1)]
        assert fs.read_ranges(asked) == [LARGE[offset : offset + size] for _, offset, size in asked]

    @pytest.mark.parametrize("past", [(5, 6), (9, 2), (10, 1), (100, 1), (0, 11)])
    def test_read_ranges_is_exact(self, fs: FileSystem, past: tuple[int, int]) -> None:
        """A range that the file does not have in full is an error that names the file."""
        put_all(fs, "d/short", "d/other", data=DIGITS)
        for others in ([], [("d/other", 0, 10), ("d/short", 0, 5)]):
            with refused(ReadError, "d/short"):
                fs.read_ranges([*others, ("d/short", *past)])

    def test_read_ranges_missing(self, fs: FileSystem) -> None:
        """A missing file is an error that names it."""
        put_all(fs, "d/file")
        with refused(NotExistError, "d/missing"):
            fs.read_ranges([("d/file", 0, 1), ("d/missing", 0, 1)])
