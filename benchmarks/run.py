"""One run of the benchmarks: what is measured of whom, and what was found so far."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import Progress

from benchmarks.data import save, saved
from benchmarks.engines import Engine, of_name
from benchmarks.fleet import Asked, Fleet
from benchmarks.places import Folder
from benchmarks.processes import FailedError, Outcome, elsewhere
from benchmarks.results import Results

Item = TypeVar("Item")


@dataclasses.dataclass
class Run:
    """What all groups share.

    Attributes
    ----------
    engines : list of type
        Those that take turns.
    fleet, wide : Fleet
        The rows of few series, and of many.
    repeat : int
        Rounds of what takes long; what takes short is done more often.
    quick : bool
        Whether it is only to be seen that all works.
    folder : pathlib.Path
        For stores and data.
    progress : rich.progress.Progress
        What is under way.
    asked : Asked
        What the questions are about.
    """

    engines: list[type[Engine]]
    fleet: Fleet
    wide: Fleet
    repeat: int
    quick: bool
    folder: Path
    progress: Progress
    results: Results = dataclasses.field(default_factory=Results)

    def __post_init__(self) -> None:
        self.asked = Asked.of(self.fleet)

    def steps(self, title: str, items: Sequence[Item], name: Callable[[Item], str] = str) -> Iterator[Item]:
        """Yield the items, showing which is under way."""
        task = self.progress.add_task(title, total=len(items), doing="")
        for item in items:
            self.progress.update(task, doing=name(item), refresh=True)
            yield item
            self.progress.advance(task)
        self.progress.update(task, doing="", refresh=True)

    def turns(self, title: str, rounds: int, *, patient: bool = True) -> Iterator[type[Engine]]:
        """Yield each engine in each round; each round begins with another, so that none is always first.

        Parameters
        ----------
        title : str
            What is measured.
        rounds : int
            How many.
        patient : bool
            Whether engines that are slow take part in all rounds, not only in the first.
        """
        order = deque(self.engines)
        items: list[type[Engine]] = []
        for number in range(rounds):
            items += [engine for engine in order if patient or number == 0 or not engine.slow]
            order.rotate(-1)
        return self.steps(title, items, lambda engine: engine.name)

    def attempt(self, what: str, function: Callable[..., Any], *arguments: Any) -> Outcome | None:
        """Call a function in a process of its own; if that fails, note so and return None."""
        os.sync()  # or what the one before wrote would be written during this one's time
        try:
            return elsewhere(function, *arguments)
        except FailedError as failure:
            self.results.failed.append(f"{what}: {failure}")
            self.progress.console.print(
                f"[red]{what} failed[/]: {str(failure).splitlines()[-1]}", markup=True
            )
            return None

    def batches(self, fleet: Fleet, rows: int) -> Path:
        """Return the file with a fleet's rows in batches of so many, in order of time."""
        path = self.folder / f"{fleet.series}x{fleet.rows}-{rows}.arrow"
        return path if path.exists() else save(fleet.by_time(rows), path)

    def new_folder(self, name: str) -> Path:
        """Return a folder that is not there."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def stored(self, engine: type[Engine]) -> Folder | None:
        """Return where an engine holds the fleet's rows, compacted and arranged; None if it could not store them."""
        path = self.folder / f"stored-{engine.layout}"
        if not path.exists():
            unfinished = self.new_folder(f"unfinished-{engine.layout}")
            data = self.batches(self.fleet, 10_000)
            if self.attempt(f"storing rows in {engine.name}", store, engine.name, unfinished, data) is None:
                return None
            unfinished.rename(path)
        return Folder(path)


def store(name: str, folder: Path, data: Path) -> None:
    """Write all rows, compact, and arrange."""
    engine = of_name(name)
    store = engine(Folder(folder), write=True)
    for batch in saved(data):
        store.add(engine.form(batch))
    store.flush()
    store.compact()
    store.arrange()
    store.close()
