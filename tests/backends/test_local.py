"""The local backend: the conformance suite, and what is its own."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from measurefs.backends.local import LocalFileSystem
from measurefs.fs import (
    DeleteError,
    FencedError,
    InvalidPathError,
    LockError,
    LockHolder,
    NotExistError,
    OpenError,
    PermissionError_,
    ReadError,
    UnsupportedStoreError,
    WriteError,
    open_url,
)
from measurefs.testing import FileSystemConformance

posix_only = pytest.mark.skipif(os.name != "posix", reason="speaks of POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="speaks of Linux")
not_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may do everything")


class Disk:
    """`RawAccess` by the operating system's own calls."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def put(self, path: str, data: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def names(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


class TestLocalFileSystem(FileSystemConformance):
    @pytest.fixture
    def root(self, tmp_path):
        return tmp_path / "root"

    @pytest.fixture
    def fs(self, root):
        with LocalFileSystem(root) as fs:
            yield fs

    @pytest.fixture
    def another(self, fs, root):
        with LocalFileSystem(root) as another:
            yield another

    @pytest.fixture
    def raw(self, root):
        return Disk(root)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def fs(root):
    with LocalFileSystem(root) as fs:
        yield fs


PREAMBLE = """
import sys
from measurefs.backends.local import LocalFileSystem
fs = LocalFileSystem(sys.argv[1])
"""


def python(code: str, *arguments: object, **options) -> subprocess.Popen:
    """Start another process that runs code with `fs` at the root that its first argument names."""
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def holding_a_lock(root: Path) -> subprocess.Popen:
    """Start a process that takes the lock, and return when it has it."""
    process = python(
        "lock = fs.create_lock_file('LOCK')\nprint(lock.token, flush=True)\nsys.stdin.read()", root
    )
    assert process.stdout.readline().strip().isdigit()
    return process


# The root


def test_reading_a_missing_root_creates_nothing(fs, root):
    assert fs.read_dir("") == []
    fs.sync_path("")
    fs.must_rm_all("")
    fs.must_rm_all("d")
    for call in (fs.read, fs.open_file, fs.read_dir, fs.delete_file, fs.sync_path):
        with pytest.raises(NotExistError):
            call("d")
    for call in (lambda path: fs.write(path, b"x"), fs.create_file, fs.create_lock_file):
        with pytest.raises(NotExistError):
            call("d/file")
    assert not root.exists()


@pytest.mark.parametrize("first", ["write", "create_file", "make_dir", "create_lock_file", "write_all"])
def test_the_first_write_creates_the_root(tmp_path, first):
    root = tmp_path / "not" / "yet" / "there"
    with LocalFileSystem(root) as fs:
        match first:
            case "write":
                fs.write("file", b"x", exclusive=True)
            case "create_file":
                fs.create_file("file").close()
            case "make_dir":
                fs.make_dir("a/b")
            case "write_all":
                fs.write_all({f"file-{number}": b"x" for number in range(10)})
            case _:
                fs.create_lock_file("LOCK").close()
        assert fs.read_dir("")


def test_a_relative_root_is_that_of_its_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fs = LocalFileSystem("store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fs.write("file", b"x")
    assert (tmp_path / "store" / "file").read_bytes() == b"x"


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_bytes(b"x")
    fs = LocalFileSystem(tmp_path / "root")
    for call in (lambda: fs.read_dir(""), lambda: fs.write("file", b""), lambda: fs.make_dir("d")):
        with pytest.raises(OSError, match="Not a directory"):
            call()


def test_urls(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = {
        str(tmp_path / "a b"): tmp_path / "a b",
        f"file://{tmp_path}/a%20b": tmp_path / "a b",
        f"FILE://localhost{tmp_path}/x": tmp_path / "x",
        "~/x": tmp_path / "x",
        "./x": Path.cwd() / "x",
    }
    assert {url: Path(open_url(url).root) for url in expected} == expected


@pytest.mark.parametrize("url", ["file://host/path", "file://relative", "file://", ""])
def test_urls_that_name_no_directory(url):
    with pytest.raises(UnsupportedStoreError, match=f"cannot open '{url}'"):
        LocalFileSystem.from_url(url)


def test_options_are_refused(tmp_path):
    with pytest.raises(UnsupportedStoreError, match="anon"):
        open_url(str(tmp_path), anon=True)


def test_it_travels_to_another_process(fs):
    fs.write("file", b"x")
    copy = pickle.loads(pickle.dumps(fs))
    assert repr(copy) == repr(fs)
    assert copy.read("file") == b"x"


# Modes, links and names


@posix_only
def test_files_and_directories_are_private(fs, root):
    before = os.umask(0)
    try:
        fs.make_dir("a/b")
        fs.write("a/written", b"x")
        fs.write("a/exclusive", b"x", exclusive=True)
        fs.create_file("a/created").close()
        fs.create_lock_file("a/LOCK").close()
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
    assert len(modes) == 7
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}


@pytest.fixture
def outside(tmp_path, root):
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "file").write_bytes(b"secret")
    root.mkdir()
    (root / "to-dir").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "file")
    return outside


ESCAPES = {
    "read": lambda fs: fs.read("to-dir/file"),
    "read link": lambda fs: fs.read("to-file"),
    "open_file": lambda fs: fs.open_file("to-dir/file"),
    "open_file link": lambda fs: fs.open_file("to-file"),
    "read_ranges": lambda fs: fs.read_ranges([("to-dir/file", 0, 1)]),
    "read_dir": lambda fs: fs.read_dir("to-dir"),
    "read_dir below": lambda fs: fs.read_dir("to-dir/d"),
    "write": lambda fs: fs.write("to-dir/new", b"x"),
    "write exclusive": lambda fs: fs.write("to-dir/new", b"x", exclusive=True),
    "write_all": lambda fs: fs.write_all({"to-dir/new": b"x", "to-dir/d/new": b"x"}),
    "create_file": lambda fs: fs.create_file("to-dir/new"),
    "make_dir": lambda fs: fs.make_dir("to-dir/new"),
    "make_dir existing": lambda fs: fs.make_dir("to-dir", exist_ok=True),
    "make_dir below": lambda fs: fs.make_dir("to-dir/d/e/f"),
    "delete_file": lambda fs: fs.delete_file("to-dir/file"),
    "must_rm_all": lambda fs: fs.must_rm_all("to-dir/d"),
    "sync_path": lambda fs: fs.sync_path("to-dir"),
    "sync_path file": lambda fs: fs.sync_path("to-dir/file"),
    "sync_path link": lambda fs: fs.sync_path("to-file"),
    "create_lock_file": lambda fs: fs.create_lock_file("to-dir/LOCK"),
    "create_lock_file link": lambda fs: fs.create_lock_file("to-file"),
}


@posix_only
@pytest.mark.parametrize("call", ESCAPES)
def test_links_do_not_lead_out_of_the_root(fs, outside, call):
    for _ in range(2):
        with pytest.raises(PermissionError_):
            ESCAPES[call](fs)
    assert sorted(path.name for path in outside.rglob("*")) == ["d", "file"]
    assert (outside / "file").read_bytes() == b"secret"


@posix_only
def test_a_directory_that_becomes_a_link_is_noticed(fs, root, outside):
    fs.make_dir("d")
    fs.write("d/file", b"mine")
    assert fs.read("d/file") == b"mine"
    fs.must_rm_all("d")
    (root / "d").symlink_to(outside)
    with pytest.raises(PermissionError_):
        fs.read("d/file")
    with pytest.raises(PermissionError_):
        fs.write("d/file", b"x")


@posix_only
def test_removing_takes_the_link_and_not_what_it_leads_to(fs, root, outside):
    fs.delete_file("to-file")
    (root / "d").mkdir()
    (root / "d" / "link").symlink_to(outside)
    (root / "d" / "dangling").symlink_to(root / "nowhere")
    fs.must_rm_all("d")
    fs.must_rm_all("to-dir")
    assert fs.read_dir("") == []
    assert (outside / "file").read_bytes() == b"secret"


@posix_only
def test_writing_replaces_the_link_and_not_what_it_leads_to(fs, root, outside):
    with pytest.raises(FileExistsError):
        fs.write("to-file", b"x", exclusive=True)
    with pytest.raises(FileExistsError):
        fs.create_file("to-file")
    fs.write("to-file", b"mine")
    assert fs.read("to-file") == b"mine"
    assert (outside / "file").read_bytes() == b"secret"


@posix_only
def test_links_inside_the_root_are_followed(fs, root):
    fs.make_dir("real")
    fs.write("real/file", b"x")
    (root / "dir").symlink_to(root / "real")
    (root / "file").symlink_to(root / "real" / "file")
    assert fs.read("dir/file") == fs.read("file") == b"x"
    assert fs.read_dir("dir") == fs.read_dir("real")
    fs.write("dir/file-2", b"y")
    assert fs.read("real/file-2") == b"y"


@posix_only
def test_the_root_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    fs = LocalFileSystem(tmp_path / "link")
    fs.make_dir("d")
    fs.write("d/file", b"x")
    with fs.create_lock_file("LOCK") as lock:
        lock.check()
    assert (tmp_path / "real" / "d" / "file").read_bytes() == b"x"
    fs.must_rm_all("")
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127])
def test_names_may_be_as_long_as_the_disk_allows(fs, name):
    fs.write(name, b"one")
    fs.write(name, b"two")
    assert fs.read(name) == b"two"
    fs.delete_file(name)
    with fs.create_file(name) as file:
        file.write(b"three")
    assert [entry.name for entry in fs.read_dir("")] == [name]
    with pytest.raises(OSError, match="use shorter names"):
        fs.write(name + "nn", b"")


# Unfinished files


@pytest.mark.parametrize("path", [".tmp-x", "d/.tmp-x", ".tmp-d/x", ".tmp-"])
def test_names_of_unfinished_files_are_refused(fs, path):
    for call in (fs.read, fs.create_file, fs.make_dir, fs.read_dir, fs.must_rm_all, fs.create_lock_file):
        with pytest.raises(InvalidPathError):
            call(path)
    fs.write("x.tmp-x", b"x")
    assert fs.read("x.tmp-x") == b"x"


def test_unfinished_files_are_hidden_and_swept_by_the_next_lock(fs, root):
    fs.make_dir("d")
    with fs.create_file("d/file") as file:
        file.write(b"x" * (2 << 20))
        assert len(list((root / "d").iterdir())) == 1
        assert fs.read_dir("d") == []
        abandoned = next((root / "d").iterdir()).name
    (root / "d" / abandoned).write_bytes(b"half")
    (root / abandoned).write_bytes(b"half")
    assert [entry.name for entry in fs.read_dir("d")] == ["file"]
    fs.create_lock_file("d/LOCK").close()
    assert sorted(os.listdir(root / "d")) == ["LOCK", "file"]
    assert abandoned in os.listdir(root), "only the lock's own directory is swept"
    with holding_a_lock(root) as holder:
        (root / abandoned).write_bytes(b"half")
        with pytest.raises(LockError):
            fs.create_lock_file("LOCK")
        assert abandoned in os.listdir(root), "only the holder sweeps"
        holder.communicate("")


FULL_DISK = """
import os, resource, signal
from measurefs.fs import FileSystemError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fs.make_dir("d")
fs.write("d/old", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
opened = len(os.listdir("/dev/fd"))


def created(size, pieces):
    with fs.create_file("d/new") as file:
        for _ in range(pieces):
            file.write(b"x" * size)


def swallowed():
    file = fs.create_file("d/new")
    try:
        file.write(b"x" * (2 << 20))
    except FileSystemError:
        pass
    file.close()


calls = {
    "replacing": lambda: fs.write("d/old", b"x" * 100_001),
    "exclusive": lambda: fs.write("d/new", b"x" * 100_001, exclusive=True),
    "several": lambda: fs.write_all({"d/new": b"x" * 200_000, "d/new-2": b"y" * 200_000}),
    "on closing": lambda: created(1_000, 101),
    "on writing": lambda: created(2 << 20, 2),
    "swallowed": swallowed,
}
for name, call in calls.items():
    try:
        call()
    except FileSystemError as error:
        print(name, type(error).__name__, error.errno, sorted(os.listdir(f"{fs.root}/d")))
fs.write("d/fits", b"x" * 100_000)
assert fs.read("d/old") == b"old"
assert len(os.listdir("/dev/fd")) == opened, "a file was left open"
"""


@posix_only
def test_a_full_disk_leaves_nothing_behind(root):
    output, _ = python(FULL_DISK, root).communicate()
    names = ["replacing", "exclusive", "several", "on closing", "on writing"]
    expected = [f"{name} WriteError {errno.EFBIG} ['old']" for name in names]
    assert output.splitlines() == [*expected, f"swallowed WriteError {errno.EIO} ['old']"]
    assert sorted(os.listdir(root / "d")) == ["fits", "old"]


@posix_only
def test_without_links_exclusive_files_are_exclusive_all_the_same(fs, root, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    for round_ in range(20):
        start = threading.Barrier(8)
        wins = []

        def contend(number, path=f"file-{round_}", start=start, wins=wins):
            start.wait()
            try:
                if number % 2:
                    fs.write(path, b"%d" % number, exclusive=True)
                else:
                    with fs.create_file(path) as file:
                        file.write(b"%d" % number)
            except FileExistsError:
                return
            wins.append(number)

        threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        assert fs.read(f"file-{round_}") == b"%d" % wins[0]
    assert len(os.listdir(root)) == 20


# Open files


@posix_only
def test_an_open_file_outlives_its_name(fs):
    fs.write("file", b"old")
    with fs.open_file("file") as file:
        fs.write("file", b"newer")
        assert (file.read(0, 10), file.size()) == (b"old", 3)
        fs.must_rm_all("")
        assert (file.read(0, 10), file.size()) == (b"old", 3)


def test_closing_under_running_reads_never_reads_another_file(fs):
    fs.write("file", b"mine" * 1_000)
    fs.write("other", b"else" * 1_000)
    for _ in range(50):
        file = fs.open_file("file")
        start = threading.Barrier(3)
        seen = []

        def read(file=file, start=start, seen=seen):
            start.wait()
            try:
                while True:
                    seen.append(file.read(0, 4))
            except ReadError:
                return

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        start.wait()
        file.close()
        with fs.open_file("other") as other:
            for thread in threads:
                thread.join()
            assert other.read(0, 4) == b"else"
        assert set(seen) <= {b"mine"}


def test_a_range_far_larger_than_the_file(fs):
    fs.write("file", b"0123456789")
    with fs.open_file("file") as file:
        assert file.read(4, 1 << 60) == b"456789"
        assert file.read(1 << 40, 1 << 60) == b""
        for offset, size in [(-1, 1), (0, -1)]:
            with pytest.raises(ReadError):
                file.read(offset, size)


def test_forgotten_files_are_closed_with_a_warning(fs, root):
    fs.write("file", b"x")
    for forget in (fs.open_file, lambda _: fs.create_file("new"), fs.create_lock_file):
        path = "LOCK" if forget == fs.create_lock_file else "file"
        with pytest.warns(ResourceWarning, match="was never closed|is still held"):
            forget(path)
            gc.collect()
    assert sorted(os.listdir(root)) == ["LOCK", "file"]
    fs.create_lock_file("LOCK").close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@linux_only
def test_nothing_stays_open(fs, root, outside):
    def everything():
        fs.make_dir("d", exist_ok=True)
        fs.write("d/file", b"x")
        fs.write_all({f"d/file-{number}": b"x" for number in range(10)})
        with fs.create_file("d/created") as file:
            file.write(b"x")
        with pytest.raises(ZeroDivisionError), fs.create_file("d/discarded") as file:
            file.write(b"%d" % (1 // 0))
        with fs.open_file("d/file") as file:
            list(file.stream_read(1))
        fs.read_ranges([("d/file", 0, 1), ("d/file-1", 0, 1)])
        fs.sync_path("d")
        fs.sync_path("d/file")
        fs.delete_file("d/created")
        with fs.create_lock_file("d/LOCK"), pytest.raises(LockError):
            fs.create_lock_file("d/LOCK")
        for call in (
            lambda: fs.write("d", b"x"),
            lambda: fs.write("d/file", b"x", exclusive=True),
            lambda: fs.create_file("d/file"),
            lambda: fs.open_file("d"),
            lambda: fs.read("d"),
            lambda: fs.open_file("missing"),
            lambda: fs.read_ranges([("d/file", 5, 5)]),
            lambda: fs.delete_file("d"),
            lambda: fs.sync_path("missing"),
            lambda: fs.create_lock_file("d"),
            lambda: fs.create_lock_file("to-file"),
            lambda: fs.read("to-file"),
            lambda: fs.read_dir("to-dir"),
        ):
            with pytest.raises(OSError):
                call()

    everything()
    before = open_files()
    for _ in range(5):
        everything()
    assert open_files() == before


def test_many_ranges_cost_one_opening_and_few_reads(fs, monkeypatch):
    fs.make_dir("d")
    fs.write("d/file", bytes(40 << 20))
    fs.write("d/small", b"0123456789")
    opened = []
    monkeypatch.setattr(
        os, "open", lambda name, *rest, true=os.open: opened.append(name) or true(name, *rest)
    )
    apart = [("d/file", number << 20, 16) for number in range(40)]
    close = [("d/small", number, 1) for number in range(10)]
    found = fs.read_ranges([*apart, *close, ("d/file", 0, 40 << 20), *reversed(close)])
    assert len(opened) == 2
    assert b"".join(found[40:50]) == b"0123456789"
    assert len(found[50]) == 40 << 20


# Errors


def test_errors_chain_their_cause(fs):
    fs.make_dir("d")
    for call in (fs.read, fs.open_file, fs.read_dir, fs.delete_file, fs.sync_path):
        with pytest.raises(NotExistError) as caught:
            call("missing")
        assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(WriteError) as caught:
        fs.write("d", b"x")
    assert isinstance(caught.value.__cause__, IsADirectoryError)
    for call in (fs.read, fs.open_file):
        with pytest.raises(OpenError) as caught:
            call("d")
        assert caught.value.__cause__ is None
    with pytest.raises(NotExistError, match="make_dir") as caught:
        fs.write("missing/file", b"x")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@posix_only
@not_root
def test_permissions_are_told_apart(fs, root):
    fs.make_dir("d")
    fs.write("d/file", b"x")
    (root / "d" / "file").chmod(0)
    with pytest.raises(PermissionError_, match="permissions"):
        fs.read("d/file")
    (root / "d").chmod(0o500)
    try:
        for call in (
            lambda: fs.write("d/new", b""),
            lambda: fs.delete_file("d/file"),
            lambda: fs.must_rm_all("d"),
        ):
            with pytest.raises(PermissionError_):
                call()
    finally:
        (root / "d").chmod(0o700)


@linux_only
def test_removing_gives_up_with_an_error(tmp_path):
    process_directory = LocalFileSystem("/proc")
    with pytest.raises((DeleteError, PermissionError_)):
        process_directory.must_rm_all(f"{os.getpid()}/fdinfo")


# Locks


def test_a_lock_excludes_other_processes(fs, root):
    with holding_a_lock(root) as holder:
        with pytest.raises(LockError, match=str(holder.pid)) as caught:
            fs.create_lock_file("LOCK")
        assert caught.value.holder.pid == holder.pid
        holder.stdin.close()
        holder.wait()
    with fs.create_lock_file("LOCK") as lock:
        assert lock.token == caught.value.holder.token + 1
        other = python("fs.create_lock_file('LOCK')", root, stderr=subprocess.PIPE)
        _, errors = other.communicate()
        assert f"LockError: cannot create_lock_file 'LOCK': held by process {os.getpid()}" in errors


@posix_only
def test_a_killed_holder_releases_the_lock_but_not_cleanly(fs, root):
    fs.create_lock_file("LOCK").close()
    with holding_a_lock(root) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with fs.create_lock_file("LOCK") as lock:
        assert lock.token == 3
        assert not lock.clean
    with fs.create_lock_file("LOCK") as lock:
        assert lock.clean


FORKING = """
import os, signal
from measurefs.fs import FencedError
lock = fs.create_lock_file("LOCK")
if os.fork():
    signal.pause()
try:
    lock.check()
except FencedError:
    lock.close()
    print("lost", flush=True)
sys.stdin.read()
os._exit(0)
"""


@posix_only
def test_a_fork_does_not_inherit_the_lock(root):
    with python(FORKING, root) as parent:
        assert parent.stdout.readline() == "lost\n"
        with pytest.raises(LockError, match=str(parent.pid)):
            LocalFileSystem(root).create_lock_file("LOCK")
        parent.kill()
        parent.wait()
        with LocalFileSystem(root).create_lock_file("LOCK") as lock:  # though the child still lives
            assert (lock.token, lock.clean) == (2, False)
        parent.stdin.close()
        assert parent.stdout.read() == ""


@posix_only
def test_a_fork_may_write_as_its_parent_did(root):
    code = """
import os
fs.write_all({f"file-{number}": b"x" for number in range(10)})
child = os.fork()
if child == 0:
    fs.write_all({f"child-{number}": b"x" for number in range(10)})
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    process = python(code, root)
    process.communicate()
    assert process.returncode == 0
    assert len(os.listdir(root)) == 20


def records(root: Path) -> list[LockHolder | None]:
    content = (root / "LOCK").read_bytes()
    return [
        LockHolder.decode(content[start : start + 4096].partition(b" ")[2].strip()) for start in (0, 4096)
    ]


def test_a_lock_file_tells_people_who_holds_it(fs, root):
    with fs.create_lock_file("LOCK") as lock:
        assert (root / "LOCK").stat().st_size == 8192
        (held,) = [record for record in records(root) if record]
        assert (held.token, held.pid, held.released) == (lock.token, os.getpid(), False)
    assert sorted((record.token, record.released) for record in records(root)) == [(1, False), (1, True)]


@pytest.mark.parametrize("torn", [1, 20, 100, 4096])
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b" "], ids=["zeros", "ones", "blanks"])
@pytest.mark.parametrize("acquisitions", [2, 3, 4, 5])
def test_a_torn_acquisition_does_not_bring_a_token_back(fs, root, acquisitions, fill, torn):
    for _ in range(acquisitions - 1):
        fs.create_lock_file("LOCK").close()
    content = bytearray((root / "LOCK").read_bytes())
    start = 0 if b'"released":false' in content[:4096] else 4096  # the slot that is written next
    content[start : start + torn] = fill * torn
    (root / "LOCK").write_bytes(content)
    with fs.create_lock_file("LOCK") as lock:
        assert lock.token == acquisitions, "what was torn was never known to anybody"
        assert lock.clean


@pytest.mark.parametrize("size", [0, 100, 4095, 4096, 4097, 6000, 8191])
def test_a_torn_release_does_not_bring_a_token_back(fs, root, size):
    lock = fs.create_lock_file("LOCK")
    held = (root / "LOCK").read_bytes()
    lock.close()
    released = (root / "LOCK").read_bytes()
    (root / "LOCK").write_bytes(released[:size] + held[size:])
    with fs.create_lock_file("LOCK") as again:
        assert again.token == 2
        assert again.clean == (size > 4096 + 200)


@pytest.mark.parametrize("content", [b"x", b"garbage " * 2000, b'{"token": 7}', bytes(range(256)) * 32])
def test_a_lock_file_damaged_beyond_crashes_counts_from_one_and_tells_no_clean_release(fs, root, content):
    for _ in range(3):
        fs.create_lock_file("LOCK").close()
    (root / "LOCK").write_bytes(content)
    with fs.create_lock_file("LOCK") as lock:
        assert (lock.token, lock.clean) == (1, False)
    with fs.create_lock_file("LOCK") as after:
        assert (after.token, after.clean) == (2, True)


@pytest.mark.parametrize("content", [b"", b" " * 8192, bytes(8192)])
def test_a_lock_file_never_written_counts_from_one(fs, root, content):
    root.mkdir()
    (root / "LOCK").write_bytes(content)
    with fs.create_lock_file("LOCK") as lock:
        assert (lock.token, lock.clean) == (1, True)


@posix_only
@pytest.mark.parametrize("loss", ["delete", "replace", "remove", "move"])
def test_a_lost_lock_file_is_noticed(fs, root, loss):
    fs.make_dir("d")
    lock = fs.create_lock_file("d/LOCK")
    lock.check()
    match loss:
        case "delete":
            (root / "d" / "LOCK").unlink()
        case "replace":
            fs.write("d/LOCK", fs.read("d/LOCK"))
        case "remove":
            fs.must_rm_all("d")
            fs.make_dir("d")
        case _:
            (root / "d").rename(root / "e")
            (root / "d").mkdir()
    with pytest.raises(FencedError):
        lock.check()
    with fs.create_lock_file("d/LOCK") as new:
        new.check()
        lock.close()
        new.check()
        with pytest.raises(LockError):
            fs.create_lock_file("d/LOCK")


@posix_only
def test_a_lock_file_deleted_all_the_time_is_still_one_lock(fs, root):
    """Between opening and locking the file may be replaced; then it is the new file that is locked."""
    root.mkdir()
    stop = threading.Event()

    def delete():
        while not stop.is_set():
            (root / "LOCK").unlink(missing_ok=True)

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for _ in range(200):
            fs.create_lock_file("LOCK").close()
    finally:
        stop.set()
        deleter.join()


def test_a_lock_is_no_directory_and_needs_one(fs):
    fs.make_dir("d")
    with pytest.raises(LockError):
        fs.create_lock_file("d")
    with pytest.raises(NotExistError):
        fs.create_lock_file("missing/LOCK")
