"""The 38 defects of the system this engine descends from: each is refuted by a test, or has no counterpart here.

The tests are in `test_defects_durability` (1, 2, 6 to 19), `test_defects_queries` (3 to 5, 20 to 29, 37, 38) and
`test_defects_measures` (30 to 36).
"""

from __future__ import annotations

import inspect
import re

from tests.reference import test_defects_durability, test_defects_measures, test_defects_queries

DEFECTS = range(1, 39)
NO_COUNTERPART: dict[int, str] = {}
"""Number to the reason why a defect cannot be tried here. So far each can."""


def refuted() -> dict[int, list[str]]:
    """Number to the tests that are named by it; each has a docstring that says what the defect was."""
    found: dict[int, list[str]] = {}
    for module in (test_defects_durability, test_defects_queries, test_defects_measures):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            match = re.match(r"test_(\d\d)_", name)
            if match:
                assert function.__doc__, f"{name} does not say what the defect was"
                found.setdefault(int(match.group(1)), []).append(name)
    return found


def test_every_defect_is_refuted_or_has_no_counterpart() -> None:
    """By number, none twice and none left out."""
    numbers = refuted().keys()
    assert not numbers & NO_COUNTERPART.keys()
    assert sorted(numbers | NO_COUNTERPART.keys()) == list(DEFECTS)
