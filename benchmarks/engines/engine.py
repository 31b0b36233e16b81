"""What the benchmarks need of an engine: to store the fleet's rows, and to answer the questions."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Self

import pyarrow as pa

from benchmarks.fleet import Asked
from benchmarks.places import Place


class Engine(abc.ABC):
    """A store that is open.

    The questions return Arrow, or pandas where the engine's own form is that. All rows of a series come together and in
    order of time, unless the question is about another order.

    Parameters
    ----------
    place : Folder or Bucket
        Where the store is, or is made if it is to be written.
    write : bool
        Whether it is opened to write.
    merging : bool
        Whether an engine that merges small parts by itself may do so.

    Attributes
    ----------
    name : str
        As tables show it.
    package, module : str
        What pip installs, and what Python imports.
    layout : str
        Engines of the same layout can ask each other's stores.
    remote : bool
        Whether it can be in a bucket.
    concurrent : bool
        Whether several threads can append to one table.
    slow : bool
        Whether it takes so long to store all rows that once must be enough.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    module: ClassVar[str]
    layout: ClassVar[str]
    remote: ClassVar[bool] = False
    concurrent: ClassVar[bool] = True
    slow: ClassVar[bool] = False

    @staticmethod
    @abc.abstractmethod
    def imports() -> None:
        """Import what is needed."""

    @staticmethod
    def form(batch: pa.Table) -> Any:
        """Bring a batch into the form that the engine takes; not timed."""
        return batch

    @abc.abstractmethod
    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        """Open the store; make it if it is to be written and not there."""

    def another(self) -> Self:
        """Return what another thread of this process appends with."""
        return self

    @abc.abstractmethod
    def add(self, batch: Any) -> None:
        """Store rows; durable with `flush` at the latest."""

    def append(self, batch: Any) -> None:
        """Store rows, durably on return."""
        self.add(batch)
        self.flush()

    def flush(self) -> None:  # noqa: B027 - where each `add` is durable there is nothing to do
        """Make durable what was added."""

    @abc.abstractmethod
    def compact(self) -> None:
        """Do what the engine offers to make many small writes into few large ones, and remove what is left."""

    def arrange(self) -> None:  # noqa: B027 - where `compact` does all there is
        """Bring the rows into the order, and make the indexes, in which the questions are answered best."""

    @abc.abstractmethod
    def rewrite(self, batch: Any) -> None:
        """Give rows that are there other values, durably: all rows from the batch's least to its greatest time."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close it."""

    @abc.abstractmethod
    def series_hour(self, asked: Asked) -> Any:
        """Return the rows of one series in an hour, all fields, in order of time."""

    @abc.abstractmethod
    def eight_series_hour(self, asked: Asked) -> Any:
        """Return the rows of eight series in an hour, all fields."""

    @abc.abstractmethod
    def all_hour(self, asked: Asked) -> Any:
        """Return the rows of all series in an hour, all fields."""

    @abc.abstractmethod
    def all_hour_by_time(self, asked: Asked) -> Any:
        """Return the same in order of time."""

    @abc.abstractmethod
    def scan_value(self, asked: Asked) -> Any:
        """Return all values of a field."""

    @abc.abstractmethod
    def scan_rows(self, asked: Asked) -> Any:
        """Return all values of a field with time and series."""

    @abc.abstractmethod
    def mean_by_series(self, asked: Asked) -> Any:
        """Return the mean of a field by series."""

    def mean_after_rewriting(self, asked: Asked) -> Any:
        """Return the same where rows may be there in two versions, of which the later counts."""
        return self.mean_by_series(asked)

    @abc.abstractmethod
    def hourly_by_region(self, asked: Asked) -> Any:
        """Return the mean of a field by region and hour."""

    @abc.abstractmethod
    def last_rows(self, asked: Asked) -> Any:
        """Return the newest row of every series, all fields."""

    @abc.abstractmethod
    def newest_of_series(self, asked: Asked) -> Any:
        """Return the ten newest rows of one series, all fields, the newest first."""

    @abc.abstractmethod
    def count_high(self, asked: Asked) -> Any:
        """Return how many rows have a field above its 99.9th percentile."""
