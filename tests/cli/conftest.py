"""Fixtures for the command: a way to run it within this process, and rows worth running it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from measurefs.cli import main
from tests.conftest import Store

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command; it must succeed unless told which exit status is expected, and then say why in one line."""

    def run(*arguments: object, status: int = 0, stdin: bytes | None = None) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
        told = f"{result.output}\n{result.exception!r}"
        assert isinstance(result.exception, SystemExit | None), told
        assert result.exit_code == status, told
        assert "Traceback" not in result.output
        if status:
            assert result.stderr.startswith("Error: "), told
            assert result.stderr.count("\n") == 1, told
        return result

    return run


@pytest.fixture
def options() -> Callable[[Store], list[str]]:
    """Return a store's options as they are typed."""

    def typed(store: Store) -> list[str]:
        return [
            word
            for key, value in store.options.items()
            if key != "session"  # shared by this process's clients to save time; nobody can type it
            for word in (
                "--storage-option",
                f"{key}={value if isinstance(value, str) else json.dumps(value)}",
            )
        ]

    return typed


@pytest.fixture
def series_files(tmp_path: Path) -> dict[str, Path]:
    """CSV files of one series each: gaps, duplicate times, whole numbers in one and fractions in the other."""
    directory = tmp_path / "data"
    directory.mkdir()
    files = {}
    for name, base, step in (("requests", 100, 1), ("cpu_24ae8d", 0.132, 0.0335)):
        rows = [
            (pd.Timestamp("2014-02-14 14:30:00") + pd.Timedelta(minutes=5 * number), base + number * step)
            for number in range(900)
            if not 200 <= number < 230
        ]
        rows[400:400] = [rows[398], (rows[399][0], base)]
        files[name] = directory / f"{name}.csv"
        frame = pd.DataFrame(rows, columns=["timestamp", "value"])
        frame.to_csv(files[name], index=False)
    return files


def tree(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory, to see that nothing was changed."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def figures(result: Result) -> Any:
    """Return what ``--json`` printed."""
    return json.loads(result.stdout)
