"""Mutations of what rewrites, keeps, drops and changes: merging, deleting, tags, retention, dropping, schemas."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MERGER = "measurefs/table/merger.py"
TAGGING = "measurefs/table/tagging.py"
TAGS = "measurefs/database/tags.py"
RETENTION = "measurefs/database/retention.py"
DROPPING = "measurefs/database/dropping.py"
CHAIN = "measurefs/database/schema_chain.py"

HEALTHY = "tests/crash/test_crashes.py::test_nothing_goes_wrong_without_faults"

_MERGING = (
    Mutation(
        "merge-part-not-synced",
        "The name of a merged part is durable before a snapshot names it.",
        MERGER,
        "        self._fs.sync_path(self._root)\n        self.merged_bytes += ",
        "        self.merged_bytes += ",
        f"{HEALTHY}[merging-table]",
    ),
    Mutation(
        "merge-forgets-the-order-of-arrival",
        "Of rows with the same version that of the part which came last counts.",
        MERGER,
        "merge.run(inputs)",
        "merge.run(inputs[::-1])",
        "tests/table/test_merging.py::TestCompaction::test_the_highest_version_stays_and_of_equal_ones_the_later",
    ),
)

_DELETING = (
    Mutation(
        "delete-not-committed",
        "Deleted rows are gone for good when that returns.",
        MERGER,
        "            self._flusher.flush()  # part of the log may have some of them, and some that are in memory\n",
        "            pass\n",
        f"{HEALTHY}[deleting-table]",
    ),
    Mutation(
        "delete-leaves-rows-in-the-log",
        "Rows that the log took along while they were flushed are deleted, too.",
        MERGER,
        "            self._flusher.flush()  # part of the log may have some of them, and some that are in memory\n",
        "            self._flusher.publish()\n",
        "tests/table/test_log.py::TestCommits::test_deleting_deletes_what_it_took_along_while_that_was_flushed",
    ),
    Mutation(
        "delete-leaves-rows-in-memory",
        "Rows that are only in memory are deleted, too.",
        "measurefs/table/table.py",
        "        self.flush()\n        return self._merger.remove",
        "        return self._merger.remove",
        f"{HEALTHY}[deleting-table]",
    ),
)

_TAGS = (
    Mutation(
        "untag-not-synced",
        "A removed tag of a table does not come back.",
        TAGGING,
        "    fs.sync_path(root)  # also for none: the removal of one may have failed before it was durable\n",
        "",
        f"{HEALTHY}[tagging-table]",
    ),
    Mutation(
        "measure-tag-not-synced",
        "A measure's tag is durable when it is made.",
        TAGS,
        "        self._fs.sync_path(join(self._root, TAGS))\n        try:",
        "        try:",
        f"{HEALTHY}[tagging-measure]",
    ),
    Mutation(
        "measure-untag-not-synced",
        "A measure's removed tag does not come back, when what it kept may be collected.",
        TAGS,
        "        self._fs.sync_path(join(self._root, TAGS))\n        return set(",
        "        return set(",
        "tests/database/test_time_travel.py::test_after_a_crash_a_tag_is_there_whole_or_not_at_all[untag]",
    ),
)

_DROPPING = (
    Mutation(
        "retention-drops-what-is-tagged",
        "A segment stays as long as a tag keeps it.",
        RETENTION,
        "        if self._is_tagged(place):\n            return False\n",
        "",
        f"{HEALTHY}[expiring_tagged-measure]",
    ),
    Mutation(
        "retention-trusts-the-clock",
        "What was dropped stays so when the clock goes back.",
        RETENTION,
        "    dropped = MIN_TIME if schema.dropped_before is None else schema.dropped_before\n    return",
        "    dropped = MIN_TIME\n    return",
        "tests/database/test_retention.py::test_a_clock_that_goes_back_brings_nothing_back",
    ),
    Mutation(
        "drop-not-synced-before-the-files-go",
        "A measure is gone for good before its first file is removed: a crash leaves it whole, or gone.",
        DROPPING,
        "            fs.sync_path(root)\n        finally:",
        "            pass\n        finally:",
        "tests/database/test_dropping.py::TestCrashes::test_of_dropping_and_creating_at_every_operation",
    ),
    Mutation(
        "drop-floor-forgotten",
        "What a stalled writer of a dropped measure still writes is older than all of the next one.",
        DROPPING,
        "msgspec.structs.replace(schema, floor=tombstone.floor)",
        "schema",
        "tests/database/test_dropping.py::TestOthers::test_a_stalled_writer_shows_nothing",
    ),
)

_SCHEMAS = (
    Mutation(
        "schema-change-not-synced",
        "A changed schema is durable when that returns.",
        CHAIN,
        "    fs.sync_path(root)\n    # Its name",
        "    # Its name",
        f"{HEALTHY}[evolving-measure]",
    ),
    Mutation(
        "schema-change-not-exclusive",
        "Of two who change a schema at once neither replaces what the other has made.",
        CHAIN,
        "        fs.write(join(root, revision.name), seal(schema), exclusive=True)\n    except",
        "        fs.write(join(root, revision.name), seal(schema))\n    except",
        "tests/database/test_schema_chain.py::TestTogether::test_no_change_is_lost",
    ),
)

MUTATIONS: tuple[Mutation, ...] = (*_MERGING, *_DELETING, *_TAGS, *_DROPPING, *_SCHEMAS)
