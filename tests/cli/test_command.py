"""The command as a whole: help, exit statuses, errors of one line, and a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import measurefs
from measurefs.cli import main
from measurefs.codec.sealed import seal
from measurefs.database.identity import IDENTITY, Identity
from tests.cli.conftest import Run

COMMANDS = ("demo", "ingest", "inspect", "query")


def process(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "measurefs.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload,no-any-return]


def test_help_lists_every_command(run: Run) -> None:
    listed = run("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in listed
    assert "exit status" in " ".join(listed.lower().split())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(run: Run, name: str) -> None:
    text = run(name, "--help").stdout
    assert f"  measurefs {name}" in text.partition("Example")[2]
    assert "--json" in text
    assert "--storage-option" in text


def test_help_does_not_wait_for_slow_imports() -> None:
    program = (
        "import sys\n"
        "from measurefs.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "slow = {'numpy', 'pyarrow', 'pandas', 's3fs', 'psutil', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=120)


def test_helpers_are_no_commands(run: Run) -> None:
    run("common", status=2)
    run("_chart", status=2)


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"measurefs {measurefs.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("query",),
        ("query", "x"),
        ("query", "x", "m", "--limit", "-1"),
        ("query", "x", "m", "--order", "value"),
        ("query", "x", "m", "--format", "xlsx"),
        ("query", "x", "m", "--output", "rows.xlsx"),
        ("inspect", "x", "--storage-option", "nonsense"),
        ("inspect", "x", "--no-such-option"),
        ("ingest", "x", "m"),
        ("demo", "--seconds", "0"),
    ],
)
def test_bad_usage_is_status_2(run: Run, arguments: tuple[str, ...]) -> None:
    run(*arguments, status=2)


@pytest.mark.parametrize(
    "url", ["missing/store", "memory://not-there", "nosuchscheme://a/b", "file:///no/such/place"]
)
@pytest.mark.parametrize("command", [("query", "m"), ("inspect",)])
def test_a_store_that_is_not_there_is_status_2(
    run: Run, url: str, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(command[0], url, *command[1:], status=2)
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_a_store_is_status_2(run: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("time,host,v\n2026-01-01,a,1\n")
    for url in (rows, rows / "below"):
        assert str(url) in run("inspect", url, status=2).stderr
        assert str(url) in run("ingest", url, "m", rows, "--entity", "host", status=2).stderr


def test_a_server_that_is_not_there_is_status_1(run: Run) -> None:
    pytest.importorskip("s3fs")
    options = {"endpoint_url": "http://127.0.0.1:1", "key": "k", "secret": "s", "retry_deadline": "0.1"}
    words = [word for key, value in options.items() for word in ("--storage-option", f"{key}={value}")]
    assert "s3://bucket/x" in run("inspect", "s3://bucket/x", *words, status=1).stderr


def test_a_store_of_a_newer_format_is_status_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / IDENTITY).write_bytes(seal(Identity(format=99)))
    (tmp_path / "rows.csv").write_text("time,host,v\n2026-01-01,a,1\n")
    assert "newer" in run("inspect", tmp_path, status=2).stderr
    assert "newer" in run("ingest", tmp_path, "m", tmp_path / "rows.csv", "--entity", "host", status=2).stderr


def test_damage_is_status_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / IDENTITY).write_bytes(b"{}")
    run("inspect", tmp_path, status=1)


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("measurefs.open", broken)
    with pytest.raises(ZeroDivisionError):
        main(["inspect", "anywhere"])


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(30)  # a signal comes when it comes

    monkeypatch.setattr("measurefs.open", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it
    try:
        with pytest.raises(SystemExit) as left:
            main(["inspect", "anywhere"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert left.value.code == 130
    assert capsys.readouterr().err.strip() == ""


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("time,host,usage\n2026-01-01T00:00:00Z,a,0.5\n2026-01-01T00:00:10Z,b,1.5\n")
    store = tmp_path / "store"
    done = process("ingest", store, "cpu", rows, "--entity", "host")
    assert (done.returncode, done.stderr) == (0, "")
    done = process("query", store, "cpu", "--columns", "host,usage")
    assert (done.returncode, done.stdout) == (0, "host,usage\na,0.5\nb,1.5\n")
    done = process("query", store, "cpus")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and "'cpu'" in done.stderr and done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path)) as db:
        measure = db.create_measure("m", entity=["host"], fields={"v": "int64"})
        measure.write({"time": list(range(200_000)), "host": ["a"] * 200_000, "v": list(range(200_000))})
    words = [sys.executable, "-m", "measurefs.cli", "query", str(tmp_path), "m", "--format", "jsonl"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout is not None and reading.stderr is not None
        assert json.loads(reading.stdout.readline())["v"] == 0
        reading.stdout.close()
        assert reading.stderr.read() == b""
        assert reading.wait(120) == 1
