"""The end of a program that has a store open: in good order, in bad order, and where nothing can be stored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import measurefs
from tests.conftest import Store
from tests.database.helpers import values_of
from tests.processes.children import PATIENCE
from tests.s3_proxy import S3Proxy

START = """
import os, shutil, signal, sys, threading, time
import measurefs

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it

# Nothing is flushed by itself in time.
LATER = measurefs.TableOptions(flush_interval=3600.0)

def open_measure(url, **options):
    database = measurefs.open(url, options=LATER, **options)
    return database.create_measure("cpu", entity=["host"], fields={"usage": "int64"}, exist_ok=True)

def row(number):
    return {"time": [number], "host": ["a"], "usage": [number]}

"""

TWO_ROWS = """
cpu = open_measure(sys.argv[1])
cpu.write(row(1), durable=True)
cpu.write(row(2))
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", START + program, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def ended(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which must come."""
    with start(program, *arguments) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def stored(url: object, **options: Any) -> list[int]:
    with measurefs.open(str(url), read_only=True, **options) as database:
        return values_of(database.measure("cpu"), "usage")


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("sys.exit(3)", 3, ""),
        ("raise ValueError('of the program')", 1, "ValueError: of the program"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT, "KeyboardInterrupt"),
        ("del cpu", 0, ""),
    ],
    ids=["sys.exit", "exception", "SIGINT", "end"],
)
def test_rows_are_durable_after_the_end_of_a_program(
    tmp_path: Path, end: str, status: int, said: str
) -> None:
    ran = ended(TWO_ROWS + end, tmp_path)
    assert ran.returncode == status
    assert ran.stderr.strip().endswith(said)
    assert "measurefs:" not in ran.stderr
    assert ("Traceback" in ran.stderr) == bool(said)
    assert stored(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    "end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGKILL)"]
)
@pytest.mark.skipif(os.name == "nt", reason="there are no such signals here")
def test_a_program_that_ends_without_a_word_loses_what_was_not_durable(tmp_path: Path, end: str) -> None:
    ran = ended(f"{TWO_ROWS}{end}\ntime.sleep(60)", tmp_path)
    assert ran.stderr == ""
    assert stored(tmp_path) == [1]


@pytest.mark.skipif(os.name == "nt", reason="needs the limit on the size of files")
def test_what_cannot_be_stored_in_the_end_is_told(tmp_path: Path) -> None:
    end = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
"""
    ran = ended(TWO_ROWS + end, tmp_path)
    assert ran.returncode == 0
    (line,) = ran.stderr.splitlines()
    assert "rows are lost that could not be made durable (1 of measure 'cpu')" in line
    assert str(tmp_path) in line
    assert "File too large; raise the limit on the size of files (ulimit -f)" in line
    assert stored(tmp_path) == [1]


def test_one_store_that_is_gone_does_not_keep_the_others_from_closing(tmp_path: Path) -> None:
    stores = [tmp_path / name for name in "abcdef"]
    program = """
measures = [open_measure(url) for url in sys.argv[1:]]
for cpu in measures:
    cpu.write(row(1), durable=True)
    cpu.write({"time": [2, 3], "host": ["a", "b"], "usage": [2, 3]})
for url in sys.argv[1:3]:
    shutil.rmtree(url)
"""
    ran = ended(program, *stores)
    assert ran.returncode == 0
    lines = ran.stderr.splitlines()
    assert len(lines) == 2, ran.stderr
    for store in stores[:2]:
        assert any(str(store) in line and "(2 of measure 'cpu')" in line for line in lines), ran.stderr
    for store in stores[2:]:
        assert stored(store) == [1, 2, 3]
        with measurefs.open(store) as database:  # the lock is free
            database.measure("cpu").write({"time": [4], "host": ["a"], "usage": [4]}, durable=True)


def test_a_bucket_out_of_reach_is_told_in_the_end(s3_store: Store, s3_proxy: S3Proxy) -> None:
    program = """
cpu = open_measure(sys.argv[1], storage_options={
    "key": "testing", "secret": "testing", "endpoint_url": sys.argv[2], "retry_deadline": 1.0, "lease": 1.0,
    "client_kwargs": {"region_name": "us-east-1"},
})
cpu.write(row(1), durable=True)
cpu.write(row(2))
print("written", flush=True)
sys.stdin.readline()
"""
    with start(program, s3_store.url, s3_proxy.options["endpoint_url"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        s3_proxy.close()
        _, errors = process.communicate("\n", timeout=PATIENCE)
    assert process.returncode == 0
    told = [line for line in errors.splitlines() if line.startswith("measurefs: ")]
    assert len(told) == 1, errors
    assert "(1 of measure 'cpu')" in told[0]
    assert "Traceback" not in errors
    assert stored(s3_store.url, storage_options=s3_store.options) == [1]


def test_rows_that_are_lost_to_a_successor_are_told_in_the_end(tmp_path: Path) -> None:
    """Here the background has found out, so that nobody was told yet."""
    program = """
LATER = measurefs.TableOptions(flush_interval=0.01)
cpu = open_measure(sys.argv[1])
cpu.write(row(1), durable=True)
os.unlink(sys.argv[1] + "/cpu/seg-19700101/shard-0/LOCK")
with measurefs.open(sys.argv[1]) as other:
    other.measure("cpu").write(row(2), durable=True)
cpu.write(row(3))
while not next(iter(cpu.stats().values()))["last_error"]:
    time.sleep(0.001)
"""
    ran = ended(program, tmp_path)
    assert ran.returncode == 0
    assert "measurefs: " in ran.stderr, "rows were lost without a word"
    assert "Traceback" not in ran.stderr
    assert stored(tmp_path) == [1, 2]


@pytest.mark.parametrize("daemon", [True, False])
def test_threads_that_write_on_are_refused_in_the_end(tmp_path: Path, daemon: bool) -> None:
    """The store is closed when the main thread ends, as thread pools are: what was taken by then is there."""
    program = """
cpu = open_measure(sys.argv[1])
started = threading.Event()
taken = [0]

def write():
    try:
        while True:
            cpu.write(row(taken[0]))
            taken[0] += 1
            started.set()
    except measurefs.ClosedError:
        print(taken[0], flush=True)

threading.Thread(target=write, daemon=sys.argv[2] == "True").start()
started.wait()
"""
    ran = ended(program, tmp_path, daemon)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = stored(tmp_path)
    assert found == list(range(len(found)))
    assert len(found) > 0
    if not daemon or ran.stdout:  # a daemon may not live to tell
        assert len(found) == int(ran.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_end_of_a_forked_child_is_none_of_its_parents(tmp_path: Path) -> None:
    program = """
import warnings
warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)  # of a process with threads, by Python 3.12
cpu = open_measure(sys.argv[1])
cpu.write(row(1), durable=True)
cpu.write(row(2))
if (child := os.fork()) == 0:
    sys.exit(0)

def seen():
    with measurefs.open(sys.argv[1], read_only=True) as database:
        return database.measure("cpu").query(columns=["usage"]).to_arrow()["usage"].to_pylist()

assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert seen() == [1], seen()
try:
    open_measure(sys.argv[1]).write(row(9))
except measurefs.LockError as error:
    assert str(os.getpid()) in str(error)
else:
    raise AssertionError("the lock was let go")
cpu.write(row(3), durable=True)
assert seen() == [1, 2, 3], seen()
"""
    ran = ended(program, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert stored(tmp_path) == [1, 2, 3]


def test_a_handler_may_close_the_store_in_the_midst_of_a_durable_write(local_store: Store) -> None:
    program = """
database = measurefs.open(sys.argv[1], options=LATER)
cpu = database.create_measure("cpu", entity=["host"], fields={"usage": "int64"})

def close(*_):
    database.close()
    print(number)
    sys.exit(0)

signal.signal(signal.SIGTERM, close)
number = 0
syncs, sync = 0, os.fsync

def syncing(file):
    global syncs
    syncs += 1
    if syncs == 50:
        os.kill(os.getpid(), signal.SIGTERM)
    sync(file)

os.fsync = syncing
while True:
    cpu.write(row(number), durable=True)
    number += 1
"""
    done = ended(program, local_store.url)
    assert done.returncode == 0, done.stderr
    written = int(done.stdout)
    assert stored(local_store.url)[:written] == list(range(written))
