"""Work divided into tasks, for one thread or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")
Mapper = Callable[[Callable[[A], B], Iterable[A]], Iterable[B]]
"""``map``, or an executor's."""

Task = Callable[[], None]

_MOST_AT_ONCE = 64
"""Tasks handed to threads: handing one over costs as much as a small one."""


def run_tasks(tasks: Sequence[Task], run: Mapper[Any, Any]) -> None:
    """Return when all tasks are done; raises what one of them raises."""
    size = -(-len(tasks) // _MOST_AT_ONCE) or 1
    for _ in run(_call, [tasks[first : first + size] for first in range(0, len(tasks), size)]):
        pass


def _call(tasks: Sequence[Task]) -> None:
    for task in tasks:
        task()
