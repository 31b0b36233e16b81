"""Runs tests and notes what failed, and which file a module came from; started by ``python -m tests.mutations``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest


class Notes:
    """The tests that failed, in the order in which they did, and what each raised."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed.setdefault(report.nodeid, getattr(crash, "message", "").partition("\n")[0])


def main(notes_path: str, module: str, arguments: list[str]) -> None:
    notes = Notes()
    code = 1
    try:
        code = pytest.main(arguments, plugins=[notes])
    except Exception:
        # What is left behind by a test that failed may raise when all is over.
        if not notes.failed:
            raise
    loaded = getattr(sys.modules.get(module), "__file__", None)
    Path(notes_path).write_text(json.dumps({"code": int(code), "failed": notes.failed, "loaded": loaded}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
