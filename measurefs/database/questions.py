"""What can be asked of a measure: rows, aggregates, the newest rows."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import pyarrow as pa

from measurefs.database import reading, time_travel
from measurefs.database.batch import Place
from measurefs.database.dropping import until_dropped
from measurefs.database.held import HeldMeasure
from measurefs.database.retention import expired_before
from measurefs.fs.cached import cache_of
from measurefs.fs.errors import CorruptionError, NotExistError, SchemaError
from measurefs.query import (
    ON_CORRUPT,
    TIME,
    Group,
    Newest,
    OnCorrupt,
    Order,
    Query,
    QueryResult,
    Reader,
    Where,
    Work,
    naming_the_remedy,
    to_nanoseconds,
)
from measurefs.table import Snapshot

if TYPE_CHECKING:
    from measurefs.query.aggregation.buckets import Every
    from measurefs.query.aggregation.filling import Fill
    from measurefs.query.aggregation.functions import Values

_LOOKS = 4
"""How often a query begins, at most, if what it is about keeps being collected."""


class Answer(Protocol):
    """What makes a result of the parts that were pinned for it."""

    def batches(self, groups: Sequence[Group]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the result."""


class Question(NamedTuple):
    """What is asked, by the schema of a moment.

    Attributes
    ----------
    query : Query
        Which rows it is about.
    schema : pyarrow.Schema
        Of the result.
    answer : callable
        From a reader, and the query with its final bounds.
    """

    query: Query
    schema: pa.Schema
    answer: Callable[[Reader, Query], Answer]


Asking: TypeAlias = Callable[[reading.Planner, int], Question]
"""Makes a question by the schema of a moment, and the time before which rows have expired then."""


def _rows(reader: Reader, _: Query) -> Reader:
    """Answer with the rows themselves."""
    return reader


class Pinned(NamedTuple):
    """A question, and what it is about.

    Attributes
    ----------
    question : Question
    query : Query
        With its final bounds.
    places : list of Place
    snapshots : list of Snapshot
        Of the tables in these places.
    """

    question: Question
    query: Query
    places: list[Place]
    snapshots: list[Snapshot]

    def release(self) -> None:
        """Let the snapshots go."""
        for snapshot in self.snapshots:
            snapshot.release()


class MeasureQuestions(HeldMeasure):
    """What can be asked of a measure, see `Measure`.

    A question pins, at one moment, the snapshots of the tables that it needs; they are read when the result is used.
    """

    def query(
        self,
        start: Any = None,
        end: Any = None,
        where: Where = None,
        columns: Sequence[str] | None = None,
        order: Order = "time",
        limit: int | None = None,
        as_of: Any = None,
        on_corrupt: OnCorrupt = "error",
        *,
        offset: int = 0,
    ) -> QueryResult:
        """Find rows; they are read when the result is used, and are those of this moment, or of the past.

        Parameters
        ----------
        start, end : datetime, str, int, numpy.datetime64, pandas.Timestamp or pyarrow scalar, optional
            Times from start up to but without end. Strings are ISO 8601, integers nanoseconds since 1970; what has
            no time zone is UTC.
        where : dict or pyarrow.compute.Expression, optional
            ``{"host": "a", "region": ["x", "y"]}``: each column equals the value, or one of several (None finds
            nulls); a list contains the value, or one of several. Operators as a dict:
            ``{"usage": {">": 0.5, "<=": 1}, "host": {"prefix": "web-"}}``, of ``==  !=  <  <=  >  >=  in  not_in
            prefix  regex  contains  all  null``; a compiled regular expression is one, too. Or an expression of
            `pyarrow.compute` over any columns. Nulls are as in Arrow: nothing compares with them.
        columns : sequence of str, optional
            The columns of the result; default time, entity, tags and fields. ``version`` may be asked for.
        order : {"time", "-time", "series"}
            By time (rows of the same time by series), by time descending, or the rows of each series together
            in order of time: the series in the order in which where lists them, else in one that is always the
            same.
        limit : int, optional
            At most so many rows; no more is read than they need.
        as_of : str, datetime, int or whatever start may be, optional
            Rows as they were: at a tag (its name), or at a time (the last commit of each table up to then, by its
            writer's clock), or at an epoch (an integer, of each table). Only what was committed counts. Except at a
            tag a table goes back as far as its newest ``options.keep_snapshots`` commits, and what retention has
            dropped since is gone. The `ttl` is judged as of then. Columns are today's: those added since are null.
        on_corrupt : {"error", "skip"}
            What to do about damaged files that the query needs: raise `CorruptionError`, or go on without and tell
            in `QueryResult.skipped`. What is left out is always a whole part: the rows of one flush. A row in it that
            had replaced an older one is missing, too, so that the older one may be found. Of a table
            whose newest snapshot is damaged the newest that reads well serves; one that has none is left out.
        offset : int
            Rows to leave out before the first.

        Returns
        -------
        QueryResult

        Raises
        ------
        SchemaError
            A column is unknown (the message suggests the nearest), or a value or a bound cannot be understood; or
            what was committed by ``as_of`` has been collected (the message says what there is).
        CorruptionError
            A table is damaged so that it does not open, unless that is to be skipped.
        """
        self._check_open()

        def question(planner: reading.Planner, since: int) -> Question:
            query = planner.plan(since, start, end, where, columns, order, limit, offset)
            return Question(query, query.shape.schema, _rows)

        return self._ask(question, as_of, on_corrupt)

    def aggregate(
        self,
        start: Any = None,
        end: Any = None,
        where: Where = None,
        *,
        every: Every | None = None,
        by: str | Sequence[str] = (),
        values: Values | None = None,
        origin: Any = None,
        timezone: str | datetime.tzinfo = "UTC",
        fill: Fill = None,
        as_of: Any = None,
        on_corrupt: OnCorrupt = "error",
    ) -> QueryResult:
        """Compute what rows have in common, without making them; it is done when the result is used.

        Whole blocks are taken from what the store knows of them, and of the others only the columns needed are read.

        Parameters
        ----------
        start, end, where, as_of, on_corrupt
            Which rows; as for `query`.
        every : str, timedelta or int, optional
            The width of the buckets of time: ``"10s"``, ``"5m"``, ``"1h"``, and in calendar units ``"1d"``, ``"1w"``,
            ``"1mo"``, ``"3mo"``, ``"1y"``; integers are nanoseconds. Default is one bucket for all.
        by : str or sequence of str
            Entity columns and tags to group by; null is a group of its own.
        values : mapping, optional
            ``{"usage": ["mean", "p99"]}`` gives ``usage_mean`` and ``usage_p99``. There are count, sum, mean, min,
            max, first, last, stddev (of a sample), median, exact quantiles such as p50 or p99.9 (they hold a group's
            values in memory), and approx_p99 and so on, at most 1 % off in bounded memory. Nulls are left out; a group
            without a value gives null, and a count of 0. Default is ``count``, the number of rows.
        origin : time, optional
            Where a bucket begins; default 1970-01-01T00:00 in the time zone, and Monday for weeks.
        timezone : str or tzinfo
            In which days, weeks, months and years are meant.
        fill : {"null", "previous", "linear"} or number, optional
            What to put into buckets without rows, between the first and the last (of start and end, where given) of
            each group; default is to leave them out. Counts become 0.

        Returns
        -------
        QueryResult
            Column ``time``, the start of the bucket, if there are any; the columns of ``by``; the values. In order of
            time and then of ``by``. Without buckets and groups it is one row, even of nothing.

        Raises
        ------
        SchemaError
            Something asked for is unknown, or does not fit its type; when it is read, a sum of integers is no int64.
        """
        # Imported here: they are a fifth of all there is to import, and who only writes or reads rows needs none.
        from measurefs.query.aggregation.aggregates import Aggregation  # noqa: PLC0415
        from measurefs.query.reduce import Reducer  # noqa: PLC0415

        self._check_open()

        def question(planner: reading.Planner, since: int) -> Question:
            aggregation = Aggregation(
                planner.schema.entity,
                planner.tags,
                planner.schema.fields,
                every=every,
                origin=origin,
                timezone=timezone,
                by=by,
                values=values,
                fill=fill,
                start=None if start is None else max(to_nanoseconds(start, "start"), since),
                end=None if end is None else to_nanoseconds(end, "end"),
            )
            query = planner.plan(since, start, end, where, aggregation.columns or [TIME], "series", None)
            return Question(
                query, aggregation.schema, lambda reader, query: Reducer(reader, query, aggregation)
            )

        return self._ask(question, as_of, on_corrupt)

    def last(
        self,
        where: Where = None,
        columns: Sequence[str] | None = None,
        *,
        start: Any = None,
        end: Any = None,
        as_of: Any = None,
        on_corrupt: OnCorrupt = "error",
    ) -> QueryResult:
        """Find the newest row of each series, in an order of the series that is always the same.

        Segments are looked at from the newest one backwards; a start says how far. Of blocks whose last row the store
        knows nothing is decoded.

        Parameters
        ----------
        where, columns, start, end, as_of, on_corrupt
            As for `query`: with a condition it is the newest row of each series that fulfils it.
        """
        self._check_open()

        def question(planner: reading.Planner, since: int) -> Question:
            query = planner.plan(since, start, end, where, columns, "time", None)
            return Question(query, query.shape.schema, Newest)

        return self._ask(question, as_of, on_corrupt)

    def _ask(self, ask: Asking, as_of: Any, on_corrupt: OnCorrupt) -> QueryResult:
        if on_corrupt not in ON_CORRUPT:
            raise SchemaError(f"on_corrupt must be one of {', '.join(ON_CORRUPT)}, not {on_corrupt!r}")
        if self._max_age is not None and self._tables.age() > self._max_age:
            self.refresh()
        skipped: list[CorruptionError] | None = [] if on_corrupt == "skip" else None
        work = Work()
        pin = partial(self._pin, ask, as_of, skipped)
        pinned = pin()

        def batches(memory: int) -> Iterator[pa.RecordBatch]:
            found = self._batches(pinned, pin, partial(self._read, memory, work, skipped))
            return until_dropped(naming_the_remedy(found), lambda: self._dropped, self.name)

        return QueryResult(pinned.question.schema, batches, pinned.snapshots, work, skipped)

    def _pin(self, ask: Asking, as_of: Any, skipped: list[CorruptionError] | None) -> Pinned:
        """Pin, at one moment, the snapshots of the tables that a question is about."""
        if skipped is not None:
            skipped.clear()
        past = None
        if as_of is not None:
            past = time_travel.understand(self._fs, self._root, self._tables, as_of, skipped)
        now, schema = self._runtime.now(), self.schema
        since = expired_before(schema, now) if past is None else time_travel.since(schema, past, now)
        question = ask(self._planner(schema), since)
        query = question.query
        if past is None:
            places, snapshots = reading.pin(self._fs, self._tables, query, skipped, self._runtime)
        else:
            query, places, snapshots = time_travel.pin(
                self._fs, self._tables, past, query, skipped, self._runtime
            )
        pinned = Pinned(question, query, places, snapshots)
        if self.schema is schema:
            return pinned
        pinned.release()  # by now rows may be of other types than were planned with
        return self._pin(ask, as_of, skipped)

    def _read(
        self,
        memory: int,
        work: Work,
        skipped: list[CorruptionError] | None,
        pinned: Pinned,
        looks: int,
    ) -> Iterator[pa.RecordBatch]:
        query = pinned.query
        parts = [snapshot.parts_in(query.start, query.end) for snapshot in pinned.snapshots]
        work.begin(pinned.snapshots)
        reader = Reader(
            self._fs,
            query,
            self._runtime.run,
            memory=memory,
            cache_bytes=self._runtime.cache.limit,
            work=work,
            skipped=skipped,
            begins_anew=looks > 0,
        )
        return pinned.question.answer(reader, query).batches(reading.groups(pinned.places, parts))

    def _batches(
        self,
        pinned: Pinned,
        pin: Callable[[], Pinned],
        read: Callable[[Pinned, int], Iterator[pa.RecordBatch]],
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows; with a `max_age`, of what there is now if what was pinned is gone before any was found."""
        schema = pinned.question.schema
        with contextlib.ExitStack() as own:
            for looks in reversed(range(1 if self._max_age is None else _LOOKS)):
                begun = False
                try:
                    for batch in read(pinned, looks):
                        begun = True
                        yield batch
                except CorruptionError as error:
                    cache = cache_of(self._fs)
                    if cache is not None:
                        cache.forget(error.path)  # it may have come damaged, and would for ever
                    raise
                except NotExistError:
                    if begun or not looks:
                        raise
                    self.refresh()
                    pinned = pin()
                    own.callback(pinned.release)
                    if pinned.question.schema != schema:
                        raise
                else:
                    return
