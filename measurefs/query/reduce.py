"""Computing an aggregate without making rows: of whole blocks by their summaries, of others by their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.columns import values_of
from measurefs.part.part import TIME, Known, Loaded
from measurefs.part.runs import Positions
from measurefs.part.series import SeriesTable
from measurefs.part.summary import ColumnSummary
from measurefs.query.aggregation.aggregates import Accumulation, Aggregation
from measurefs.query.gather import Cut, Portion
from measurefs.query.layout import Layout
from measurefs.query.plan import Query
from measurefs.query.read import Group, Reader
from measurefs.query.slab import Slab
from measurefs.query.slices import series_slices


class Stretch(msgspec.Struct, frozen=True, eq=False):
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
        reader, cut = self._reader, layout.cut[chosen]
        plain = chosen[~cut]
        if self._query.condition.always and self._aggregation.summarisable and reader.trusting:
            plain = self._add_known(found, layout, plain)
        for portion in reader.gatherer.portions(layout, plain, self._names):
            self._add_read(found, layout, portion)
        names = reader.with_keys(layout, self._names) if cut.any() else self._names
        held = np.where(layout.shared, layout.rows, 0)
        for blocks in series_slices(layout, chosen[cut], reader.slice_rows, held[chosen[cut]]):
            several: list[Slab] = []
            for portion in reader.gatherer.portions(layout, blocks, names):
                several += self._add_pieces(found, layout, portion, names)
            if several:
                self._add_rows(found, layout, reader.newest_of(layout, several))

    def _add_read(self, found: Accumulation, layout: Layout, portion: Portion) -> None:
        """Take the wanted rows of whole blocks, none of which is superseded."""
        query, gatherer = self._query, self._reader.gatherer
        if query.condition.always:
            for cut, loaded in gatherer.cuts(layout, portion, self._names, query.start, query.end):
                found.add(self._aggregation.of_stretch(Stretch.of_cut(layout, cut, loaded)))
        else:
            for slab in gatherer.matching(layout, portion, self._names, query.start, query.end):
                self._add_rows(found, layout, slab)

    def _add_pieces(
        self, found: Accumulation, layout: Layout, portion: Portion, names: Sequence[str]
    ) -> Iterator[Slab]:
        """Take the wanted rows of pieces of blocks; yield those of clusters of several blocks, which are undecided."""
        query, gatherer = self._query, self._reader.gatherer
        for every, loaded in gatherer.cuts(layout, portion, names, query.start, query.end):
            for cut, rows in every.divided(loaded, layout.shared):
                if layout.shared[cut.blocks[0]]:
                    yield cut.slab(rows)
                elif query.condition.always:
                    found.add(self._aggregation.of_stretch(Stretch.of_cut(layout, cut, rows)))
                else:
                    slab = cut.slab(rows)
                    self._add_rows(found, layout, slab.filter(gatherer.judge(layout, slab)))

    def _add_rows(self, found: Accumulation, layout: Layout, slab: Slab) -> None:
        found.add(self._aggregation.of_stretch(Stretch.of_slab(layout, slab)))

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
