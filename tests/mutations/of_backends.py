"""Mutations of the backends: syncs, exclusive writes, and locks."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LEASE = "backends/lease.py"
LOCAL = "backends/local.py"
LOCAL_FILES = "backends/local_files.py"
LOCAL_LOCK = "backends/local_lock.py"
MEMORY = "backends/memory.py"
S3_UPLOAD = "backends/s3_upload.py"

LEASES = "tests/backends/test_lease.py"
LOCALS = "tests/backends/test_local.py"
LOCAL_LOCKS = "tests/backends/test_local_lock.py"
SYNCS = "tests/backends/test_local_syncs.py"
MEMORIES = "tests/backends/test_memory.py"
S3_FAULTS = "tests/backends/test_s3_faults.py"

_LEASE = (
    Mutation(
        "lease-second-listing-left-out",
        "Who has created a generation that was deleted before gives way to the highest.",
        LEASE,
        "        if top != token:",
        "        if top < token:",
        f"{LEASES}::test_stalled_contender_gives_way",
    ),
    Mutation(
        "lease-always-clean",
        "Whether the holder before let go in good order is told.",
        LEASE,
        "clean=before is not None and before.left_clean)",
        "clean=True)",
        f"{LEASES}::test_dead_holder_is_replaced_after_a_whole_lease",
    ),
    Mutation(
        "lease-taken-over-at-once",
        "A lock is taken over only after it was not renewed for a whole lease.",
        LEASE,
        "            if _released(content) or asked - since >= self.lease:",
        "            if _released(content) or asked >= since - self.lease:",
        f"{LEASES}::test_living_holder_is_recognised_by_its_renewal",
    ),
    Mutation(
        "lease-slow-answer-counts-as-watching",
        "How long a lock has been watched is told by when it was asked for, not by when the answer came.",
        LEASE,
        "            asked = self._clock()\n            content, since = self._look(path, token)\n",
        "            content, since = self._look(path, token)\n            asked = self._clock()\n",
        f"{LEASES}::test_a_slow_answer_does_not_count_as_watching",
    ),
    Mutation(
        "lease-fence-deleted",
        "A generation that follows one that was not released stays, for its predecessor to find.",
        LEASE,
        "        if before is not None and before.clean:",
        "        if before is not None:",
        f"{LEASES}::test_fence_of_a_crashed_holder_is_never_deleted",
    ),
    Mutation(
        "lease-check-always-returns",
        "A holder that was taken over finds out.",
        LEASE,
        "        self._find_out()\n        if self._lost is not None:\n            raise self._lost\n",
        "",
        f"{LEASES}::test_displaced_holder_is_fenced",
    ),
    Mutation(
        "lease-not-exclusive",
        "Of several contenders one creates the next generation.",
        LEASE,
        "content.encode(), exclusive=True)",
        "content.encode())",
        f"{LEASES}::test_of_two_who_saw_the_same_generation_one_gets_the_lock",
    ),
)

_LOCAL = (
    Mutation(
        "local-file-not-synced",
        "A file's bytes are durable before it gets its name.",
        LOCAL_FILES,
        "        sync(self._fd)\n        self._close()",
        "        self._close()",
        f"{SYNCS}::test_bytes_are_synced_before_they_get_their_name",
    ),
    Mutation(
        "local-directory-not-synced",
        "Names are durable when sync_path returns.",
        LOCAL_FILES,
        "        fd = os.open(directory, os.O_RDONLY)\n        try:\n            sync(fd)\n",
        "        fd = os.open(directory, os.O_RDONLY)\n        try:\n            pass\n",
        f"{SYNCS}::test_sync_path_syncs_the_directory",
    ),
    Mutation(
        "local-parents-not-synced",
        "A new directory's name is durable when make_dir returns for one below it.",
        LOCAL,
        "                if directory != name or name == self.root:\n"
        "                    sync_directory(os.path.dirname(directory))\n",
        "",
        f"{SYNCS}::test_the_directories_above_a_new_one_are_synced",
    ),
    Mutation(
        "local-exclusive-by-looking-first",
        "Of any number of exclusive writers of a name one succeeds.",
        LOCAL_FILES,
        "            _move_exclusively(self._name, target)",
        "            os.replace(self._name, target)",
        f"{SYNCS}::test_a_name_taken_between_the_look_and_the_publication_is_not_replaced",
    ),
    Mutation(
        "local-lock-token-not-advanced",
        "Each holder of a lock has a greater token than all before.",
        LOCAL_LOCK,
        "token = newest.holder.token + 1 if newest else 1",
        "token = newest.holder.token if newest else 1",
        f"{LOCALS}::TestLocalFileSystem::test_lock_passes_on",
    ),
    Mutation(
        "local-lock-not-synced",
        "A token is durable before its holder uses it.",
        LOCAL_LOCK,
        "    _write(fd, record)\n    sync(fd)\n",
        "    _write(fd, record)\n",
        f"{SYNCS}::test_a_token_is_durable_before_the_lock_is_given_out",
    ),
    Mutation(
        "local-lock-directory-not-synced",
        "A lock file's name is durable before its holder uses its token.",
        LOCAL_LOCK,
        "    sync_directory(os.path.dirname(name))\n",
        "",
        f"{SYNCS}::test_a_token_is_durable_before_the_lock_is_given_out",
    ),
    Mutation(
        "local-lock-record-before-not-synced",
        "The record before is durable before the one beside it is overwritten.",
        LOCAL_LOCK,
        "    sync(fd)\n    if _is_blank(content):",
        "    if _is_blank(content):",
        f"{SYNCS}::test_the_record_before_is_durable_before_the_other_slot_is_overwritten",
    ),
    Mutation(
        "local-lock-overwrites-the-newest-record",
        "A torn record leaves the one before.",
        LOCAL_LOCK,
        "LockHolder.here(token), 1 - newest.slot if newest else 0)",
        "LockHolder.here(token), newest.slot if newest else 0)",
        f"{LOCAL_LOCKS}::test_a_record_torn_while_it_is_written_leaves_the_one_before",
    ),
    Mutation(
        "local-lock-not-taken",
        "One process at a time has the lock.",
        LOCAL_LOCK,
        "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "            pass",
        f"{LOCALS}::TestLocalFileSystem::test_lock_is_exclusive",
    ),
    Mutation(
        "local-lock-truncated-first",
        "Who does not get the lock leaves its file as it is.",
        LOCAL_LOCK,
        "os.O_RDWR | os.O_CREAT | BINARY",
        "os.O_RDWR | os.O_CREAT | os.O_TRUNC | BINARY",
        f"{LOCALS}::TestLocalFileSystem::test_lock_is_not_touched_by_losers",
    ),
    Mutation(
        "local-lock-of-a-deleted-file",
        "A lock on a file that was deleted meanwhile is none.",
        LOCAL_LOCK,
        "            if _is_named(fd, name):",
        "            if fd:",
        f"{LOCAL_LOCKS}::test_a_lock_file_replaced_between_opening_and_locking_is_not_the_lock",
    ),
    Mutation(
        "local-lock-loss-not-noticed",
        "A holder whose lock file was replaced finds out.",
        LOCAL_LOCK,
        "        if there != self._file:",
        "        if not there:",
        f"{LOCALS}::test_a_lost_lock_file_is_noticed",
    ),
)

_MEMORY = (
    Mutation(
        "memory-exclusive-not-atomic",
        "Of several threads that write a name exclusively one succeeds.",
        MEMORY,
        "        copy = _copied(data)\n        with self._store.guard:\n"
        '            self._store.put(path, copy, "write", exclusive=exclusive)\n        return len(copy)',
        "        copy = _copied(data)\n        if True:\n"
        '            self._store.put(path, copy, "write", exclusive=exclusive)\n        return len(copy)',
        f"{MEMORIES}::test_of_two_exclusive_writers_one_succeeds_wherever_the_first_is_interrupted",
    ),
    Mutation(
        "memory-exclusive-ignored",
        "An exclusive write does not replace a file.",
        MEMORY,
        "        if there is not None and exclusive:",
        "        if there is not None and not path:",
        f"{MEMORIES}::TestMemoryFileSystem::test_exclusive_write_race",
    ),
)

_S3 = (
    Mutation(
        "s3-put-without-condition",
        "An exclusive write never replaces an object, not even one that lands late.",
        S3_UPLOAD,
        '{"IfNoneMatch": "*", "Metadata": self.client.metadata(owner)}',
        '{"Metadata": self.client.metadata(owner)}',
        f"{S3_FAULTS}::test_late_put_cannot_replace",
    ),
    Mutation(
        "s3-completion-without-condition",
        "The same of an object that goes up in parts.",
        S3_UPLOAD,
        'condition: dict[str, Any] = {"IfNoneMatch": "*"} if exclusive else {}',
        "condition: dict[str, Any] = {}",
        "tests/backends/test_s3.py::test_file_loses_to_one_created_meanwhile[20480]",
    ),
    Mutation(
        "s3-own-success-not-recognised",
        "A write whose answer got lost is recognised as one's own.",
        S3_UPLOAD,
        "            if await self.client.owner_of(what, key) != owner:\n                raise",
        "            raise",
        f"{S3_FAULTS}::test_own_success_is_recognised",
    ),
    Mutation(
        "s3-foreign-success-taken-for-own",
        "The same bytes of somebody else are not one's own.",
        S3_UPLOAD,
        "            if await self.client.owner_of(what, key) != owner:\n                raise",
        "            if await self.client.owner_of(what, key) == owner:\n                raise",
        f"{S3_FAULTS}::test_the_same_bytes_of_somebody_else_are_not_mine",
    ),
)

MUTATIONS: tuple[Mutation, ...] = (*_LEASE, *_LOCAL, *_MEMORY, *_S3)
