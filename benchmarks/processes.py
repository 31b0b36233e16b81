"""Runs a function in a process of its own, and tells how long the whole process took."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class FailedError(Exception):
    """The process ended with an error, whose last lines this has."""


class Outcome(NamedTuple):
    """What the function returned, and the seconds from the start of its process to the end."""

    value: Any
    seconds: float


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function of a module of this package in a new process.

    Raises
    ------
    FailedError
        It raised, or its process died.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name if spec and function.__module__ == "__main__" else function.__module__
    job = pickle.dumps((module, function.__qualname__, arguments))
    command = [sys.executable, "-m", "benchmarks.processes"]
    started = time.perf_counter()
    done = subprocess.run(command, input=job, capture_output=True, check=False, cwd=ROOT)
    seconds = time.perf_counter() - started
    if not done.stdout:  # one that answered may die as it will: some engines' threads do not like the end
        told = done.stderr.decode(errors="replace").strip().splitlines()[-8:]
        raise FailedError("\n".join(told) or f"the process ended with status {done.returncode}")
    return Outcome(pickle.loads(done.stdout), seconds)


def main() -> None:
    """Do what stdin says, and answer on stdout; what else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    module, name, arguments = pickle.load(sys.stdin.buffer)
    value = getattr(import_module(module), name)(*arguments)
    pickle.dump(value, answers)
    answers.close()


if __name__ == "__main__":
    main()
