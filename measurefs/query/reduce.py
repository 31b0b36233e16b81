"""Computing an aggregate without making rows: of whole blocks by their summaries, of others by their columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.columns import values_of
from measurefs.part.part import TIME, Known, Loaded
from measurefs.part.runs import Positions
from measurefs.part.series import SeriesTable
from measurefs.part.summary import ColumnSummary
from measurefs.query.aggregation.aggregates import Accumulation, Aggregation
from measurefs.query.gather import Cut
from measurefs.query.layout import Layout
from measurefs.query.plan import Query
from measurefs.query.read import Group, Reader
from measurefs.query.slab import Slab
from measurefs.query.slices import series_slices


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Rows of some runs, in arrays that may hold other rows between them; see `Aggregation.of_stretch`."""

    series: SeriesTable
    codes: Positions
    starts: Positions
    stops: Positions
    columns: Mapping[str, pa.Array]

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """The rows' times, if they are loaded."""
        return values_of(self.columns[TIME]) if TIME in self.columns else np.empty(0, np.int64)

    def column(self, name: str) -> pa.Array | None:
        """Return a tag or field; None if all rows lack it."""
        return self.columns.get(name)

    @classmethod
    def of_cut(cls, layout: Layout, cut: Cut, loaded: Loaded) -> Stretch:
        """Return the rows of some blocks where they lie."""
        starts, stops = cut.starts + loaded.shifts, cut.stops + loaded.shifts
        return cls(layout.series, layout.codes[cut.blocks], starts, stops, loaded.columns)

    @classmethod
    def of_slab(cls, layout: Layout, slab: Slab) -> Stretch:
        """Return rows that were put together, in order of series and time."""
        codes = layout.codes[slab.runs]
        stops = np.cumsum(slab.lengths)
        if (slab.lengths == 1).all() and len(codes):  # rows that were sorted: join those of the same series
            first = np.flatnonzero(np.diff(codes, prepend=-1))
            return cls(layout.series, codes[first], first, np.append(first[1:], len(codes)), slab.columns)
        return cls(layout.series, codes, stops - slab.lengths, stops, slab.columns)


class Reducer:
    """Computes an aggregate of what a query finds.

    Parameters
    ----------
    reader : Reader
        Of a query for the columns of the aggregate, in order of series.
    query : Query
    aggregation : Aggregation
    """

    def __init__(self, reader: Reader, query: Query, aggregation: Aggregation) -> None:
        self._reader = reader
        self._query = query
        self._aggregation = aggregation
        self._names = [*([TIME] if aggregation.needs_times else []), *aggregation.columns]

    def batches(self, groups: Sequence[Group]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the result.

        Parameters
        ----------
        groups : sequence of groups of parts
            See `Reader.batches`.

        Raises
        ------
        SchemaError
            The sum of integers is no int64, or filling would make too many rows.
        CorruptionError
            A part is damaged, and that is not to be skipped.
        """
        found = self._aggregation.accumulate()
        for parts in self._reader.waves(groups):
            layout, chosen = self._reader.layout(parts)
            if layout is not None:
                self._add(found, layout, chosen)
        result = found.finish()
        self._reader.work.rows += len(result)
        yield from result.to_batches()

    def _add(self, found: Accumulation, layout: Layout, chosen: Positions) -> None:
        query, gatherer = self._query, self._reader.gatherer
        single = chosen[~layout.shared[chosen]]
        if query.condition.always and self._aggregation.summarisable and self._reader.trusting:
            single = self._add_known(found, layout, single)
        for portion in gatherer.portions(layout, single, self._names):
            if query.condition.always:
                for cut, loaded in gatherer.cuts(layout, portion, self._names, query.start, query.end):
                    found.add(self._aggregation.of_stretch(Stretch.of_cut(layout, cut, loaded)))
            else:
                for slab in gatherer.matching(layout, portion, self._names, query.start, query.end):
                    found.add(self._aggregation.of_stretch(Stretch.of_slab(layout, slab)))
        shared = chosen[layout.shared[chosen]]
        for blocks in series_slices(layout, shared, self._reader.slice_rows):
            rows = self._reader.newest(layout, blocks, self._names)
            found.add(self._aggregation.of_stretch(Stretch.of_slab(layout, rows)))

    def _add_known(self, found: Accumulation, layout: Layout, blocks: Positions) -> Positions:
        """Take what summaries tell of whole blocks, and return the blocks that must be read."""
        answered = np.zeros(len(layout.rows), np.bool_)
        for _, known, mine, places in self._reader.known(layout, blocks, self._aggregation.columns):
            which = np.zeros(len(known.blocks.rows), np.bool_)
            which[places] = True
            which &= self._aggregation.answered(known.blocks, _columns(known))
            found.add(
                self._aggregation.of_summaries(known.blocks, _columns(known), known.dictionaries, which)
            )
            answered[mine] = which[places]
        self._reader.work.told_by_summaries(int(answered.sum()))
        return blocks[~answered[blocks]]


def _columns(known: Known) -> Mapping[str, ColumnSummary] | None:
    return None if known.summary is None else known.summary.columns
