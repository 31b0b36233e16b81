"""Real disks that are full or refuse to be written; ``python -m tests.processes.small_disk`` for longer."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.children import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's namespaces and limits")

OWN_MOUNTS = [["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]]
# Without this root may write everywhere: in a namespace of its own it is the owner of its files and nothing else.
NO_PRIVILEGES = ["unshare", "--user"] if sys.platform == "linux" and os.geteuid() == 0 else []


@functools.cache
def own_mounts() -> list[str] | None:
    """The command by which a process gets mounts of its own, None if it cannot have them here."""
    for command in OWN_MOUNTS:
        if _works([*command, "mount", "-t", "tmpfs", "none", "/mnt"]):
            return command
    return None


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run(prefix: list[str] | None, scenario: str, directory: Path) -> subprocess.CompletedProcess[str]:
    if prefix is None:
        pytest.skip("processes may not have mounts of their own here")
    command = [sys.executable, "-m", "tests.processes.small_disk", scenario, str(directory)]
    ran = subprocess.run(
        [*prefix, *command, "--seconds", "0.5"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


def test_a_full_disk_loses_nothing_and_is_survived(tmp_path: Path) -> None:
    run(own_mounts(), "full", tmp_path)


def test_what_does_not_fit_on_the_disk_in_the_end_is_told(tmp_path: Path) -> None:
    (line,) = run(own_mounts(), "exits", tmp_path).stderr.splitlines()
    assert "rows are lost that could not be made durable (1000 of measure 'm')" in line
    assert "No space left on device; free some space on the disk" in line


def test_a_disk_that_becomes_read_only_is_told_and_survived(tmp_path: Path) -> None:
    run(own_mounts(), "read_only", tmp_path)


def test_directories_that_may_not_be_written_are_told_and_survived(tmp_path: Path) -> None:
    if NO_PRIVILEGES and not _works([*NO_PRIVILEGES, "true"]):
        pytest.skip("root cannot do without its privileges here")
    run(NO_PRIVILEGES, "denied", tmp_path)


def test_too_many_open_files_are_told_and_survived(tmp_path: Path) -> None:
    run([], "no_files", tmp_path)


def test_too_many_open_files_are_told_when_the_store_is_opened(tmp_path: Path) -> None:
    run([], "no_files_to_open", tmp_path)
