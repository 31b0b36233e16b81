"""The merger: parts that are alike become one, in the background or when asked; and rows are removed the same way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from measurefs.fs.errors import ClosedError, CorruptionError, FencedError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.part.ahead import ReadAhead
from measurefs.part.blocks import MAX_BLOCK_ROWS
from measurefs.part.encoded import EncodedBlocks
from measurefs.part.fetch import fetch, together
from measurefs.part.file_part import FilePart
from measurefs.part.index import PAGE_BLOCKS
from measurefs.part.merge import Merge, all_columns, in_batches, row_bytes
from measurefs.part.part import Scan
from measurefs.part.rows import Rows
from measurefs.part.writer import Encodings, PartWriter
from measurefs.table.attempts import Attempts
from measurefs.table.flusher import Flusher
from measurefs.table.introducer import Introducer
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.outputs import Outputs
from measurefs.table.policy import choose
from measurefs.table.recent import RecentRows

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Told how many of how many rows are done."""

_IDLE = 3600.0
_PAUSES = 0.25
_MOST_PATIENCE = 10.0
_SPILL_BYTES = 4 << 20
_INPUT_SHARE, _OUTPUT_SHARE, _AHEAD_SHARE = 4, 4, 4


class _Manner(NamedTuple):
    """How parts are merged: who is told, and how long it pauses after each slice."""

    progress: Progress | None = None
    pauses: float = 0.0


class Merger:
    """Replaces parts of a table by others with the same rows, or fewer; one at a time, beside flushes and readers.

    Whatever is written is complete and durable before a snapshot names it, and its inputs stay until no snapshot
    and no reader does. A failure, or closing the table in the midst, leaves the table as it was.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    flusher : Flusher
        Which commits.
    introducer : Introducer
    outputs : Outputs
        Shared with the flusher.
    recent : RecentRows
        From the flusher.

    Attributes
    ----------
    merged_bytes, merges : int
        What was written since the table was opened, and in how many merges.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        flusher: Flusher,
        introducer: Introducer,
        options: TableOptions,
        runtime: Runtime,
        outputs: Outputs,
        recent: RecentRows,
    ) -> None:
        self.merged_bytes = self.merges = 0
        self.attempts = Attempts(runtime)
        self._fs = fs
        self._root = root
        self._flusher = flusher
        self._introducer = introducer
        self._options = options
        self._runtime = runtime
        self._outputs = outputs
        self._recent = recent
        self._encodings = Encodings(options.part.level)
        self._merging = threading.Lock()
        self._cancelled = threading.Event()
        self._left_alone: dict[int, Exception] = {}
        self._uncommitted_since: float | None = None

    @property
    def trouble(self) -> Exception | None:
        """Why the last merge failed, or why some parts are not merged any more."""
        return self.attempts.last_error or next(iter(self._left_alone.values()), None)

    def step(self) -> float:
        """Merge once if that is due; return the seconds until it may be again. What fails is tried again later.

        It pauses after each slice for a share of the time that took, so that others come to the processor, and
        leaves it to the next flush to commit what was merged, if that comes soon.
        """
        if self._cancelled.is_set() or not self._options.merge.enabled:
            return _IDLE
        pause = self.attempts.retry_at - self._runtime.monotonic()
        if pause > 0:
            return pause
        more = False
        patience = min(self._options.flush_interval + 1.0, _MOST_PATIENCE)

        def work() -> None:
            nonlocal more
            more = self.merge(_PAUSES, patience)

        if not self.attempts.run(work):
            return _IDLE if isinstance(self.attempts.last_error, FencedError | ClosedError) else 0.0
        if more:
            return 0.0
        return _IDLE if self._uncommitted_since is None else self._due(patience)

    def merge(self, pauses: float = 0.0, patience: float = 0.0) -> bool:
        """Merge once what the policy chooses; False if it chooses nothing.

        Parameters
        ----------
        pauses : float
            How long to pause after each slice, in parts of the time that it took.
        patience : float
            Seconds in which a flush may commit what was merged, before this does.

        Raises
        ------
        FileSystemError
            Something could not be read or written; the inputs stay.
        CorruptionError
            An input is damaged: it is left alone from now on, and its neighbours are merged without it.
        ClosedError
            The table is being closed.
        """
        with self._alone() as parts:
            self._commit_if_due(patience)  # at first, or merges that fail would hold back those before them
            inputs = self._chosen(parts)
            if inputs:
                self._merge(inputs, _Manner(pauses=pauses))
                if self._uncommitted_since is None:
                    self._uncommitted_since = self._runtime.monotonic()
            self._commit_if_due(patience)
        self.attempts.succeeded()
        return bool(inputs)

    def _commit_if_due(self, patience: float) -> None:
        if self._uncommitted_since is not None and self._due(patience) <= 0:
            self._flusher.publish()
            self._uncommitted_since = None

    def _due(self, patience: float) -> float:
        """Return the seconds until what was merged is to be committed."""
        return (self._uncommitted_since or 0.0) + patience - self._runtime.monotonic()

    def _chosen(self, parts: Sequence[FilePart]) -> Sequence[FilePart]:
        run: list[FilePart] = []
        # One that is left alone divides the others: only neighbours can be merged.
        for part in (*parts, None):
            if part is not None and part.id not in self._left_alone:
                run.append(part)
                continue
            chosen = choose([each.metadata.compressed_bytes for each in run], self._options.merge)
            if chosen is not None:
                return run[chosen.start : chosen.stop]
            run = []
        return []

    def compact(self, progress: Progress | None = None) -> None:
        """Merge all parts in files into one, as small as it gets; raises as `merge`."""
        most = self._options.merge.most_inputs
        with self._alone() as parts:
            while are_loose(parts):
                inputs = parts if len(parts) <= most else _smallest(parts, most)
                part = self._merge(inputs, _Manner(progress))
                self._flusher.publish()
                place = parts.index(inputs[0])
                parts[place : place + len(inputs)] = [] if part is None else [part]
        self._flusher.publish()  # what an earlier attempt left

    def absorb(self, numbers: Collection[int]) -> None:
        """Put one part in the place of neighbours that may not be durable, for the next commit to name.

        Their writer may have died before it had synced their names, or because it could not; to sync them now would
        prove nothing. What is damaged, or does not go together, stays as it is.
        """
        with self._alone() as parts, contextlib.suppress(CorruptionError, SchemaError):
            self._merge([part for part in parts if part.id in numbers], _Manner())

    def remove(self, scan: Scan) -> int:
        """Rewrite the parts that hold rows of a scan, without these, and return how many rows went.

        Those that are superseded count, too.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read or written; all rows are still there.
        """
        rows = 0
        with self._alone() as parts, contextlib.ExitStack() as written:
            replaced: dict[int, FilePart | None] = {}
            for part in parts:
                self._check_not_cancelled()
                if part.overlaps(scan.start, scan.end) and len(fetch(self._fs, part.blocks(scan)).rows):
                    rest = self._write(written, [part], _Manner(), scan)
                    if rest is not None and rest.rows == part.rows:
                        self._outputs.remove(rest.id)
                        continue
                    rows += part.rows - (rest.rows if rest else 0)
                    replaced[part.id] = rest
            if rows:
                self._introducer.introduce(lambda snapshot, _: snapshot.with_each_replaced(replaced))
        if rows:
            self._flusher.flush()  # part of the log may have some of them, and some that are in memory
        return rows

    @contextlib.contextmanager
    def _alone(self) -> Iterator[list[FilePart]]:
        """Keep other merges out within the block; it gives the parts in files, which nothing else replaces."""
        with self._merging:
            self._check_not_cancelled()
            with self._introducer.pin() as snapshot:
                yield list(snapshot.file_parts)

    def _merge(self, inputs: Sequence[FilePart], manner: _Manner) -> FilePart | None:
        """Put one part in the place of several neighbours."""
        with contextlib.ExitStack() as written:
            part = self._write(written, inputs, manner)
            replaced = {each.id for each in inputs}
            self._introducer.introduce(lambda snapshot, _: snapshot.with_replaced(replaced, part))
        self.merges += 1
        return part

    def _write(
        self,
        written: contextlib.ExitStack,
        inputs: Sequence[FilePart],
        manner: _Manner,
        without: Scan | None = None,
    ) -> FilePart | None:
        """Write the rows of parts as one, which is not garbage until `written` is closed; None if no row is left."""
        number = self._introducer.next_number()
        written.enter_context(self._outputs.writing(number))
        columns = all_columns(inputs)
        types = {column.name: column.type.arrow for column in columns}
        writer = PartWriter(
            self._fs,
            self._root,
            number,
            inputs[0].metadata.entity,
            columns,
            self._options.part,
            self._encodings,
            spill_bytes=_SPILL_BYTES,
        )
        held = self._recent.take(inputs)
        size = sum(rows.nbytes for slices in held.values() for rows in slices)
        keep = len(held) == len(inputs) and without is None and self._recent.has_room(size)
        made: list[Rows] = []
        try:
            rows = 0
            batches = self._batches(writer, held, inputs, types, without)
            for batch in self._paced(batches, manner.pauses):
                if isinstance(batch, EncodedBlocks):
                    writer.append_encoded(batch)
                    rows += batch.rows
                else:
                    writer.append(batch)
                    rows += len(batch)
                    if keep:
                        made.append(batch)
                if manner.progress is not None:
                    manner.progress(rows, sum(part.rows for part in inputs))
            if not rows:
                writer.discard()
                return None
            metadata = writer.finish()
        except BaseException as error:
            writer.discard()
            if isinstance(error, CorruptionError):
                self._left_alone |= {part.id: error for part in inputs if error.path.startswith(part.path)}
            elif isinstance(error, SchemaError):  # a value that the wider type of another input does not have
                self._left_alone |= {part.id: error for part in inputs}
            raise
        self._fs.sync_path(self._root)
        self.merged_bytes += metadata.compressed_bytes
        if keep:
            self._recent.keep(number, made)
        return FilePart(self._root, metadata, self._runtime.cache)

    def _paced(self, batches: Iterable[T], pauses: float) -> Iterator[T]:
        """Yield them, with a pause after each was dealt with, unless the merge is given up."""
        begun = self._runtime.monotonic()
        for batch in batches:
            self._check_not_cancelled()
            yield batch
            if pauses:
                self._cancelled.wait((self._runtime.monotonic() - begun) * pauses)
                begun = self._runtime.monotonic()

    def _batches(
        self,
        writer: PartWriter,
        held: Mapping[int, Sequence[Rows]],
        inputs: Sequence[FilePart],
        types: Mapping[str, Any],
        without: Scan | None,
    ) -> Iterator[Rows | EncodedBlocks]:
        read = [part for part in inputs if part.id not in held]
        fs = self._reading(read)
        fetch(fs, together(*(part.load_dictionaries(range(len(part.kinds))) for part in read)))
        writer.begin_with(max(inputs, key=lambda part: part.rows).dictionaries)
        options = self._options
        merge = Merge(
            fs,
            types,
            options.merge.memory // _INPUT_SHARE,
            without,
            copied=lambda part: (
                not (part.metadata.quick or part.metadata.commit)
                and writer.takes_over(part.columns, part.dictionaries)
            ),
            least_rows=options.part.block_rows // 2,
            held=held,
        )
        page = PAGE_BLOCKS * min(options.part.block_rows, MAX_BLOCK_ROWS)
        most_rows = min(page, options.merge.memory // _OUTPUT_SHARE // row_bytes(inputs))
        return in_batches(merge.run(inputs), types, most_rows)

    def _reading(self, inputs: Sequence[FilePart]) -> FileSystem:
        ahead = self._options.merge.memory // _AHEAD_SHARE
        return ReadAhead(self._fs, inputs, ahead) if self._fs.remote else self._fs

    def _check_not_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise ClosedError(
                f"table {self._root!r} is being closed; nothing was merged, and nothing is lost"
            )

    def cancel(self) -> None:
        """Give up what is being merged, and merge no more; returns when nothing is under way."""
        self._cancelled.set()
        with self._merging:
            return


def are_loose(parts: Sequence[FilePart]) -> bool:
    """Whether compaction would change a table's parts in files: there are several, or one written in a hurry."""
    return len(parts) > 1 or any(part.metadata.quick for part in parts)


def _smallest(parts: Sequence[FilePart], count: int) -> Sequence[FilePart]:
    """Return so many neighbours that are the smallest together."""
    sizes = [part.metadata.compressed_bytes for part in parts]
    first = min(range(len(parts) - count + 1), key=lambda start: sum(sizes[start : start + count]))
    return parts[first : first + count]
