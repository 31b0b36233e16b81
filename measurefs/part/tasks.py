"""Work divided into tasks, for one thread or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")
Mapper = Callable[[Callable[[A], B], Iterable[A]], Iterable[B]]
"""``map``, or an executor's."""

Task = Callable[[], None]


def run_tasks(tasks: Sequence[Task], run: Mapper[Any, Any]) -> None:
    """Return when all tasks are done; raises what one of them raises."""
    for _ in run(_call, tasks):
        pass


def _call(task: Task) -> None:
    task()
