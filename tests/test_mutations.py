"""The catalogue of `tests.mutations` fits the code; ``python -m tests.mutations`` says whether each is caught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS

ROOT = Path(__file__).parents[1]


def test_their_texts_stand_once_in_their_files() -> None:
    faults = [mutation.fault((ROOT / mutation.file).read_text()) for mutation in MUTATIONS]
    assert [fault for fault in faults if fault is not None] == []


def test_their_names_are_distinct() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert sorted(names) == sorted(set(names))


def test_the_tests_that_they_name_are_there() -> None:
    tests = sorted({mutation.test for mutation in MUTATIONS})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *tests]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
