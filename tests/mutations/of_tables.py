"""Mutations of tables: flushing, the log, opening, admission, garbage, checking and repairing."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

FLUSHER = "measurefs/table/flusher.py"
LOG = "measurefs/table/log.py"
COALESCING = "measurefs/table/coalescing.py"
TABLE = "measurefs/table/table.py"
OPENING = "measurefs/table/opening.py"
VIEW = "measurefs/table/view.py"
RECOVERY = "measurefs/table/recovery.py"
SNAPSHOT = "measurefs/table/snapshot.py"
LOCK = "measurefs/table/lock.py"
GARBAGE = "measurefs/table/garbage.py"
VERIFY = "measurefs/table/verify.py"
REPAIR = "measurefs/table/repair.py"

HEALTHY = "tests/crash/test_crashes.py::test_nothing_goes_wrong_without_faults"
FAILURES = "tests/table/test_table_failures.py"
LOGGING = "tests/table/test_log.py"
SMALL = "tests/table/test_coalescing.py"
RELEASE = "tests/table/test_table_release.py"
RECOVERING = "tests/table/test_table_recovery.py"
COLLECTING = "tests/table/test_table_garbage.py"
WRITING = "tests/table/test_table_writing.py"
ADMISSION = "tests/table/test_table_admission.py"
REPAIRING = "tests/table/test_repair.py"
VERIFYING = "tests/table/test_verify.py"
TAGGING = "tests/table/test_tags.py"

_FLUSHER = (
    Mutation(
        "flush-part-not-synced",
        "A part's name is durable before a snapshot names it.",
        FLUSHER,
        "        self._fs.sync_path(self._root)\n        self.flushed_bytes += ",
        "        self.flushed_bytes += ",
        f"{HEALTHY}[first_write-table]",
    ),
    Mutation(
        "flush-commit-not-synced",
        "A snapshot's name is durable before anybody is told that its rows are.",
        FLUSHER,
        "            self._fs.sync_path(self._root)\n        except FileSystemError:",
        "        except FileSystemError:",
        f"{HEALTHY}[first_write-table]",
    ),
    Mutation(
        "flush-commits-before-the-part",
        "The snapshot comes after the part whose rows it makes durable.",
        FLUSHER,
        "            introduce()\n            self._commit()\n",
        "            self._commit()\n            introduce()\n",
        f"{WRITING}::test_rows_are_visible_at_once_and_stored_by_a_flush[memory]",
    ),
    Mutation(
        "flush-durable-before-the-commit",
        "Rows count as durable only after the commit.",
        FLUSHER,
        "            self._commit()\n        self.durable = max(self.durable, snapshot.epoch)",
        "            self.durable = max(self.durable, snapshot.epoch)\n            self._commit()",
        f"{FAILURES}::test_rows_whose_commit_failed_are_not_taken_for_durable[0-*.snp]",
    ),
    Mutation(
        "flush-forgets-a-memory-part",
        "A flush writes all memory parts that it then drops.",
        FLUSHER,
        "[part.held for part in memory]",
        "[part.held for part in memory[:1]]",
        f"{WRITING}::test_one_flush_makes_one_part_of_all_that_waits[memory]",
    ),
    Mutation(
        "flush-snapshot-not-exclusive",
        "A commit never replaces a snapshot that another writer made under the same epoch.",
        FLUSHER,
        "record.encode(), exclusive=True)",
        "record.encode())",
        "tests/table/test_table_same_epoch.py::test_a_snapshot_of_another_writer_is_never_replaced",
    ),
    Mutation(
        "flush-foreign-snapshot-taken-for-its-own",
        "A snapshot that is there already is that of this commit only if it names the same parts.",
        FLUSHER,
        "return read_snapshot(self._fs, self._root, record.epoch).parts == record.parts",
        "return bool(read_snapshot(self._fs, self._root, record.epoch))",
        "tests/table/test_table_same_epoch.py::test_a_snapshot_of_another_writer_is_never_replaced",
    ),
    Mutation(
        "flush-own-snapshot-refused",
        "A commit that landed although its answer was lost is not taken for another writer's.",
        FLUSHER,
        "if not self._is_ours(record):",
        "if True:",
        "tests/table/test_table_same_epoch.py::test_a_snapshot_of_its_own_that_landed_before_is_recognised",
    ),
    Mutation(
        "flush-lock-not-checked",
        "Nobody is told that rows are durable after another writer has taken over.",
        FLUSHER,
        "        self._lock.check()\n        self._log.cut(",
        "        self._log.cut(",
        f"{RECOVERING}::TestFence::test_the_predecessor_is_told_and_its_rows_are_not_stored",
    ),
    Mutation(
        "flush-always-certain",
        "A writer knows whether a snapshot of its may still appear.",
        FLUSHER,
        "        self.certain = False\n",
        "        self.certain = True\n",
        f"{RELEASE}::test_a_snapshot_under_way_when_its_writer_gave_up_is_never_anybodys_newest",
    ),
    Mutation(
        "flush-same-name-tried-again",
        "After a failed sync the next attempt is a file of its own, since syncing a name twice proves nothing.",
        FLUSHER,
        "            self._introducer.introduce(lambda current, _: current.parts)\n            raise",
        "            raise",
        f"{FAILURES}::test_a_snapshot_whose_sync_failed_is_written_again_under_another_name",
    ),
    Mutation(
        "flush-litter-stays",
        "A flush that failed leaves no part behind.",
        "measurefs/table/outputs.py",
        "                self._fs.must_rm_all(join(self._root, name))",
        "                pass",
        f"{FAILURES}::test_a_failed_flush_leaves_no_part_behind",
    ),
)

_COALESCING = (
    Mutation(
        "coalesce-what-is-being-flushed",
        "Rows that are being made durable are not in the table a second time.",
        COALESCING,
        "part.id <= claimed or ",
        "",
        f"{SMALL}::test_what_is_being_made_durable_is_left_alone",
    ),
    Mutation(
        "coalesce-what-is-being-tagged",
        "What arrives while a tag is made is in the table once.",
        "measurefs/table/introducer.py",
        "            self.claimed = math.inf\n",
        "            pass\n",
        f"{SMALL}::test_a_tag_holds_what_was_there_when_it_was_made",
    ),
    Mutation(
        "coalesce-in-another-order",
        "Of rows with equal keys and versions the one that came last counts.",
        COALESCING,
        " in reversed(alike)]",
        " in alike]",
        f"{SMALL}::test_of_equal_keys_the_highest_version_counts",
    ),
)

_LOG = (
    Mutation(
        "log-lock-not-checked",
        "Nobody is told that rows in the log are durable after another writer has taken over.",
        LOG,
        "        self._lock.check()\n",
        "",
        "tests/database/test_opening.py::TestSeveralDatabases::test_a_batch_that_one_table_refuses_is_in_none",
    ),
    Mutation(
        "log-name-not-synced",
        "The name of a part of the log is durable before anybody is told that its rows are.",
        LOG,
        "        self._fs.sync_path(self._root)\n",
        "",
        f"{LOGGING}::TestWriting::test_it_is_one_write_and_one_sync",
    ),
    Mutation(
        "log-does-not-tell-what-it-follows",
        "A part of the log that is missing among others is an error, and no rows fewer.",
        LOG,
        "Commit(epoch, parent, ",
        "Commit(epoch, 0, ",
        f"{LOGGING}::TestDamage::test_a_missing_one_is_an_error[memory]",
    ),
    Mutation(
        "log-gap-not-noticed",
        "A part of the log that follows what is missing is an error, and no rows fewer.",
        LOG,
        "part.commit.parent <= after or",
        "part.commit.parent >= after or",
        f"{LOGGING}::TestDamage::test_a_missing_one_is_an_error[memory]",
    ),
    Mutation(
        "log-is-forgotten-by-a-merge",
        "A snapshot that is later than the log names what of it is still needed.",
        LOG,
        "        return [part.metadata for part in self._parts if not memory.isdisjoint(part.memory)]",
        "        return []",
        f"{LOGGING}::TestCommits::"
        "test_a_merge_that_was_made_before_and_is_committed_after_it_keeps_it[memory]",
    ),
    Mutation(
        "log-is-never-cut",
        "What a snapshot has replaced of the log is garbage.",
        LOG,
        "        self.numbers = {part.id for part in needed}\n",
        "",
        f"{LOGGING}::TestCommits::test_it_goes_when_it_is_flushed[memory]",
    ),
    Mutation(
        "log-is-collected",
        "What is in the log stays until a snapshot has its rows.",
        TABLE,
        "return self._outputs.numbers() | flusher.log_numbers | self._live_parts()",
        "return self._outputs.numbers() | self._live_parts()",
        f"{LOGGING}::TestCommits::test_collecting_leaves_it_alone[memory]",
    ),
    Mutation(
        "log-takes-rows-after-a-failed-commit",
        "Rows in a part that no snapshot names yet are not taken for durable when later ones go to the log.",
        FLUSHER,
        "return not self._uncommitted and self._log.takes(self._log.waiting(snapshot))",
        "return self._log.takes(self._log.waiting(snapshot))",
        f"{LOGGING}::TestCrashes::test_rows_of_a_flush_that_failed_are_at_risk_until_the_next",
    ),
)

_TABLE = (
    Mutation(
        "open-no-fence",
        "Who opens a table after a crash commits first, so that a late snapshot of the dead is nobody's newest.",
        OPENING,
        "if record is None or recovered.damaged or recovered.log or not lock.clean:",
        "if record is None or recovered.damaged or recovered.log:",
        f"{RECOVERING}::TestFence::test_who_opens_after_a_crash_commits_first",
    ),
    Mutation(
        "open-numbers-without-the-token",
        "All numbers of a later writer are higher than those of all before.",
        OPENING,
        "    introducer.advance(first_epoch(floor + lock.token))\n",
        "",
        f"{RECOVERING}::TestEpochs::test_the_locks_token_leads_and_all_numbers_grow[memory]",
    ),
    Mutation(
        "open-failed-told-as-clean",
        "An opening that failed leaves the fence to the next.",
        OPENING,
        "        lock.close(clean=False)  # a commit",
        "        lock.close()  # a commit",
        f"{RELEASE}::test_a_failed_opening_leaves_the_fence_to_the_next",
    ),
    Mutation(
        "open-token-not-compared",
        "A lock file that somebody deleted does not turn the numbers back.",
        LOCK,
        "if published < token <= MAX_TOKEN:",
        "if token <= MAX_TOKEN:",
        f"{RECOVERING}::TestEpochs::test_removing_the_lock_file_by_hand_does_not_turn_the_numbers_back[local]",
    ),
    Mutation(
        "close-unclean-told-as-clean",
        "A writer that gives up with a commit under way says so.",
        FLUSHER,
        "self._lock.close(clean=self.certain)",
        "self._lock.close()",
        f"{RELEASE}::test_a_snapshot_under_way_when_its_writer_gave_up_is_never_anybodys_newest",
    ),
    Mutation(
        "close-does-not-wait-for-the-admitted",
        "A table does not close before the batches that it let in are taken.",
        "measurefs/table/admission.py",
        "            self._changed.wait_for(lambda: not self._admitted)\n",
        "",
        f"{ADMISSION}::test_closing_waits_for_whom_was_admitted",
    ),
    Mutation(
        "close-loses-what-cannot-be-stored",
        "A close that cannot make the rows durable fails, and the table stays open.",
        TABLE,
        "                    self._admission.reopen()\n                    raise",
        "                    self._admission.reopen()",
        f"{FAILURES}::test_close_fails_rather_than_lose_rows_and_may_be_called_again",
    ),
    Mutation(
        "write-while-closing",
        "A table that is being closed takes no more rows.",
        TABLE,
        "        if self._admission.closing or self._closed:",
        "        if self._closed:",
        f"{ADMISSION}::test_closing_waits_for_whom_was_admitted",
    ),
    Mutation(
        "write-without-room",
        "Rows in memory stay within their limit.",
        TABLE,
        "        if self._memory.has_room(size):",
        "        if self._memory.has_room(size) or True:",
        f"{FAILURES}::TestBackpressure::test_without_a_background_the_writer_flushes_itself",
    ),
    Mutation(
        "use-after-fork",
        "A forked child cannot use its parent's table.",
        VIEW,
        '        self._guard.check(f"table {self.root!r}")\n',
        "",
        f"{WRITING}::TestClosed::test_a_forked_child_is_refused_and_harms_nothing",
    ),
    Mutation(
        "use-after-close",
        "A closed table is refused instead of losing what is written to it.",
        VIEW,
        "        if self._closed:\n            raise ClosedError(",
        "        if not self.root:\n            raise ClosedError(",
        f"{WRITING}::TestClosed::test_a_closed_table_takes_no_calls",
    ),
    Mutation(
        "use-after-fencing",
        "A writer that was taken over takes no more rows.",
        TABLE,
        "        if self._fenced is not None:\n            raise self._fenced\n",
        "",
        f"{RECOVERING}::TestFence::test_the_predecessor_is_told_and_its_rows_are_not_stored",
    ),
    Mutation(
        "durable-not-remembered",
        "What was durable is acknowledged, whatever has happened to the table since.",
        TABLE,
        "            return  # whatever has happened to the table since",
        "            pass  # whatever has happened to the table since",
        f"{ADMISSION}::test_what_was_durable_before_the_end_is_acknowledged_after_it",
    ),
)

_RECOVERY = (
    Mutation(
        "missing-part-not-noticed",
        "A snapshot whose parts are not there is an error.",
        RECOVERY,
        "        if whole and (missing or lost):",
        "        if whole and lost:",
        f"{RECOVERING}::TestMissingParts::test_a_missing_part_is_named_and_nothing_is_served[memory-compact]",
    ),
    Mutation(
        "short-part-not-noticed",
        "A part that was cut short is told at the opening.",
        RECOVERY,
        "entry.size < part.compressed_bytes:",
        "entry.size < 0:",
        f"{RECOVERING}::TestMissingParts::test_where_listings_tell_sizes_a_cut_part_is_named_at_once[memory_store]",
    ),
    Mutation(
        "older-snapshot-served-without-a-word",
        "An older snapshot does not stand in for a damaged one that alone can have named some of the parts.",
        RECOVERY,
        "        if whole and damaged:",
        "        if not whole and damaged:",
        f"{RECOVERING}::TestDamagedSnapshots"
        "::test_rows_that_only_it_can_have_named_are_never_silently_missing[memory-flip]",
    ),
    Mutation(
        "parts-without-snapshot-taken-for-none",
        "Parts without any snapshot are not an empty table.",
        RECOVERY,
        "    if parts or damaged:",
        "    if damaged:",
        f"{RECOVERING}::TestMissingParts::test_parts_without_any_snapshot_are_not_an_empty_table[memory]",
    ),
    Mutation(
        "set-aside-deletes",
        "A damaged snapshot is kept under another name.",
        RECOVERY,
        "    fs.write(error.path + CORRUPT, fs.read(error.path))\n",
        "",
        f"{RECOVERING}::TestDamagedSnapshots"
        "::test_one_before_that_names_the_same_parts_serves_and_the_damaged_one_is_kept_aside[memory-flip]",
    ),
    Mutation(
        "set-aside-not-synced",
        "The copy of a damaged snapshot is durable before the original goes.",
        RECOVERY,
        "    fs.sync_path(root)\n    fs.delete_file(error.path)",
        "    fs.delete_file(error.path)",
        f"{RECOVERING}::TestDamagedSnapshots::test_a_power_cut_does_not_take_what_is_set_aside",
    ),
    Mutation(
        "vanished-snapshot-not-listed-again",
        "A reader does not mind that a writer collects a snapshot between its listing and its read.",
        RECOVERY,
        "    for _ in range(_LISTINGS):",
        "    for _ in range(0):",
        f"{RECOVERING}::test_a_snapshot_collected_while_a_reader_opens_is_not_missed",
    ),
    Mutation(
        "snapshot-read-once",
        "A snapshot that was misread once is read again.",
        RECOVERY,
        "    with contextlib.suppress(CorruptionError):\n        return SnapshotRecord",
        "    with contextlib.suppress():\n        return SnapshotRecord",
        "tests/damage/test_lying_reads.py::test_a_snapshot_misread_once_is_read_again",
    ),
    Mutation(
        "renamed-snapshot-taken-for-another",
        "A snapshot counts only under its own name.",
        SNAPSHOT,
        "        if record.epoch != snapshot_epoch(name):",
        "        if not name:",
        f"{RECOVERING}::TestDamagedSnapshots::test_a_snapshot_under_another_name_is_damaged",
    ),
)

_GARBAGE = (
    Mutation(
        "collect-lock-not-checked",
        "A writer that was taken over deletes nothing more.",
        GARBAGE,
        "        self._lock.check()\n        entries",
        "        entries",
        f"{COLLECTING}::test_a_writer_that_was_taken_over_deletes_nothing",
    ),
    Mutation(
        "collect-later-writers-parts",
        "Parts of a later writer are not an earlier one's garbage.",
        GARBAGE,
        "if number not in named and token_of(number) <= self._floor + self._lock.token",
        "if number not in named",
        f"{COLLECTING}::test_parts_of_a_later_writer_are_not_garbage",
    ),
    Mutation(
        "collect-later-snapshots",
        "Snapshots later than the committed one are not counted among those to keep.",
        GARBAGE,
        "sorted(epoch for epoch in epochs if epoch <= committed)",
        "sorted(epochs)",
        f"{COLLECTING}::test_a_snapshot_whose_commit_failed_does_not_push_out_the_committed_one",
    ),
    Mutation(
        "collect-deletion-not-synced",
        "Snapshots are gone for good before the parts go that only these name.",
        GARBAGE,
        "name in removed])\n            self._fs.sync_path(self._root)\n",
        "name in removed])\n",
        f"{COLLECTING}::test_no_power_cut_brings_a_snapshot_back_without_its_parts",
    ),
    Mutation(
        "collect-what-kept-snapshots-name",
        "Parts are judged only after every remaining snapshot was read.",
        GARBAGE,
        "named = self._parts_named_by(epochs.difference(unneeded))",
        "named = set[int]()",
        f"{COLLECTING}::test_what_a_kept_snapshot_on_disk_names_stays",
    ),
    Mutation(
        "collect-past-an-unreadable-snapshot",
        "A snapshot that cannot be read stops the removal of parts.",
        GARBAGE,
        "        return frozenset(part.id for part in read_snapshot(self._fs, self._root, epoch).parts)",
        "        with contextlib.suppress(Exception):\n"
        "            return frozenset(part.id for part in read_snapshot(self._fs, self._root, epoch).parts)\n"
        "        return frozenset()",
        f"{COLLECTING}::test_an_unreadable_snapshot_stops_the_removal_of_parts",
    ),
    Mutation(
        "collect-without-grace",
        "Parts are kept for readers elsewhere for a while.",
        GARBAGE,
        "if now - start >= grace)",
        "if now >= start)",
        f"{COLLECTING}::test_parts_are_kept_for_the_grace",
    ),
    Mutation(
        "collect-what-readers-use",
        "What a pinned snapshot names stays.",
        TABLE,
        "return self._outputs.numbers() | flusher.log_numbers | self._live_parts()",
        "return self._outputs.numbers() | flusher.log_numbers",
        f"{COLLECTING}::test_what_a_pinned_snapshot_names_stays_until_it_is_released[memory-compact]",
    ),
    Mutation(
        "collect-what-is-being-written",
        "A part whose flush is under way stays.",
        TABLE,
        "return self._outputs.numbers() | flusher.log_numbers | self._live_parts()",
        "return flusher.log_numbers | self._live_parts()",
        f"{COLLECTING}::test_a_part_that_is_being_written_is_not_garbage",
    ),
    Mutation(
        "collect-what-readers-from-before-use",
        "What readers pinned before the table was opened for writing stays.",
        VIEW,
        "        return before | self._introducer.live_parts()",
        "        return self._introducer.live_parts()",
        f"{RECOVERING}::test_what_a_pinned_reader_sees_survives_reopening_for_writing",
    ),
    Mutation(
        "collect-in-use-asked-too-early",
        "What is in use is asked after the listing, so that it knows every part that the listing can show.",
        GARBAGE,
        "        entries = list_dir(self._fs, self._root)\n",
        "        busy = in_use()\n        in_use = lambda: busy\n        entries = list_dir(self._fs, self._root)\n",
        f"{COLLECTING}::test_a_part_begun_while_the_collector_lists_is_not_garbage",
    ),
    Mutation(
        "collect-all-at-once",
        "Collections take turns.",
        GARBAGE,
        "        with self._cleaning:\n            self._settled",
        "        with contextlib.nullcontext():\n            self._settled",
        f"{COLLECTING}::test_two_collections_at_once_take_turns[memory]",
    ),
)

_CHECKING = (
    Mutation(
        "verify-skips-a-part",
        "Every part that a snapshot names is checked.",
        VERIFY,
        "    for name, metadata in state.named().items():",
        "    for name, metadata in list(state.named().items())[1:]:",
        f"{VERIFYING}::test_a_damaged_part_is_named_once_with_what_it_held",
    ),
    Mutation(
        "verify-takes-collection-for-damage",
        "What a living writer collects meanwhile is no damage.",
        VERIFY,
        "        if settled and (",
        "        if again.epochs and (",
        f"{VERIFYING}::test_what_a_writer_collects_meanwhile_is_no_damage",
    ),
    Mutation(
        "repair-keeps-no-copy",
        "Repair keeps what is damaged under another name.",
        REPAIR,
        "        fs.write(path + CORRUPT, fs.read(path))",
        "        pass",
        f"{REPAIRING}::test_nothing_that_was_there_is_gone",
    ),
    Mutation(
        "repair-removes-before-it-commits",
        "The originals go after the new snapshot is committed.",
        REPAIR,
        """    if plan.commit:
        _commit(fs, state, plan, lock, epoch, now)
    for record in plan.cut:
        fs.write(join(root, snapshot_name(record.epoch)), record.encode())
    for name in plan.snapshots:
        with contextlib.suppress(NotExistError):
            fs.delete_file(join(root, name))
    fs.sync_path(root)  # first these, or a crash could leave a snapshot of parts that are gone
    for name in (*plan.aside, *plan.leftovers):
        fs.must_rm_all(join(root, name))
    fs.sync_path(root)
""",
        """    for record in plan.cut:
        fs.write(join(root, snapshot_name(record.epoch)), record.encode())
    for name in plan.snapshots:
        with contextlib.suppress(NotExistError):
            fs.delete_file(join(root, name))
    fs.sync_path(root)  # first these, or a crash could leave a snapshot of parts that are gone
    for name in (*plan.aside, *plan.leftovers):
        fs.must_rm_all(join(root, name))
    fs.sync_path(root)
    if plan.commit:
        _commit(fs, state, plan, lock, epoch, now)
""",
        f"{REPAIRING}::test_without_repair_what_a_crash_of_it_leaves_is_no_worse_than_before",
    ),
    Mutation(
        "repair-commits-the-damaged-part",
        "The new snapshot is without what is damaged.",
        REPAIR,
        "    kept = [part for part in held if part.name not in lost]",
        "    kept = held",
        f"{REPAIRING}::test_a_repaired_table_opens_with_all_that_can_be_read[_part-compact]",
    ),
    Mutation(
        "repair-commit-not-synced",
        "The new snapshot is durable before the originals go.",
        REPAIR,
        "    fs.sync_path(state.root)\n    lock.check()",
        "    lock.check()",
        f"{REPAIRING}::test_no_power_cut_takes_the_new_snapshot_and_not_the_old_one",
    ),
    Mutation(
        "repair-without-a-fence",
        "After a predecessor that crashed repair commits under a token of its own.",
        REPAIR,
        "plan = _plan(state, fence=not lock.clean)",
        "plan = _plan(state)",
        f"{REPAIRING}::test_a_predecessor_that_crashed_is_fenced_though_no_part_is_lost",
    ),
)

_TAGS = (
    Mutation(
        "collect-what-is-tagged",
        "What is tagged stays.",
        GARBAGE,
        "        tagged = tagged_epochs(entry.name for entry in entries) | set(self._held)",
        "        tagged = set(self._held)",
        f"{TAGGING}::test_a_tag_keeps_exactly_its_rows[memory]",
    ),
    Mutation(
        "collect-what-is-being-tagged",
        "Between the commit of what is to be tagged and the tag it is not collected.",
        GARBAGE,
        "        tagged = tagged_epochs(entry.name for entry in entries) | set(self._held)",
        "        tagged = tagged_epochs(entry.name for entry in entries)",
        f"{TAGGING}::test_collection_waits_for_a_tag_that_is_being_made",
    ),
    Mutation(
        "tag-not-synced",
        "A tag is durable when it is made.",
        "measurefs/table/tagging.py",
        '    fs.write(join(root, tag.file), b"")\n    fs.sync_path(root)\n',
        '    fs.write(join(root, tag.file), b"")\n',
        f"{TAGGING}::test_a_tag_is_durable_when_it_is_made",
    ),
    Mutation(
        "tag-lock-not-checked",
        "Nobody is told of a tag after another writer has taken over, who may have collected what it keeps.",
        "measurefs/table/tagging.py",
        "        add_tag(self._fs, self._root, TagName(epoch, name))\n        self.check()",
        "        add_tag(self._fs, self._root, TagName(epoch, name))",
        f"{TAGGING}::test_no_tag_is_made_by_who_is_not_the_writer_any_more",
    ),
    Mutation(
        "tag-commits-what-came-later",
        "A tag keeps what was pinned, though parts were replaced meanwhile.",
        FLUSHER,
        "            parts = [part.metadata for part in [*snapshot.file_parts, *introduce()]]\n",
        "            introduce()\n"
        "            with self._introducer.pin() as current:\n"
        "                parts = [part.metadata for part in current.file_parts]\n",
        f"{TAGGING}::test_a_tag_keeps_what_was_pinned_though_it_is_replaced_meanwhile",
    ),
)

MUTATIONS: tuple[Mutation, ...] = (
    *_FLUSHER,
    *_COALESCING,
    *_LOG,
    *_TABLE,
    *_RECOVERY,
    *_GARBAGE,
    *_CHECKING,
    *_TAGS,
)
