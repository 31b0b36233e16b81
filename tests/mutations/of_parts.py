"""Mutations of parts and documents: checksums, bounds, formats, series, order of rows, and their checking."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SEALED = "measurefs/codec/sealed.py"
CHUNKS = "measurefs/part/chunks.py"
FILE_PART = "measurefs/part/file_part.py"
INDEX = "measurefs/part/index.py"
METADATA = "measurefs/part/metadata.py"
SERIES = "measurefs/part/series.py"
ROWS = "measurefs/part/rows.py"
VERIFY = "measurefs/part/verify.py"
AGREEMENT = "measurefs/part/agreement.py"
WRITER = "measurefs/part/writer.py"
SNAPSHOT = "measurefs/table/snapshot.py"

FLIPS = "tests/part/test_part_damage.py::test_every_flip_in_every_section_is_found_or_harmless"
DECODERS = "tests/damage/test_decoders.py"
NEWER = "tests/golden/test_golden.py::TestNewer"
CHECKING = "tests/part/test_part_verify.py"
SUMMARIES = "tests/part/test_summary.py"

_FORMAT = (
    Mutation(
        "sealed-checksum-not-checked",
        "A document that was changed is corruption.",
        SEALED,
        'if envelope.checksum != f"{checksum(bytes(envelope.body)):016x}":',
        "if not envelope.checksum:",
        "tests/codec/test_sealed.py::test_every_flipped_bit_is_corruption_or_harmless",
    ),
    Mutation(
        "unknown-key-taken-for-damage",
        "A document that says more than this release understands is a newer one's, and not damaged.",
        SEALED,
        'if "unknown field" in str(error):',
        "if not str(error):",
        "tests/codec/test_sealed.py::test_a_document_that_says_more_is_newer_and_not_damaged",
    ),
    Mutation(
        "unknown-key-ignored",
        "A part about which a snapshot says more than this release understands is refused.",
        METADATA,
        "class PartMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):",
        "class PartMetadata(msgspec.Struct, frozen=True):",
        f"{NEWER}::test_an_unknown_key_in_a_document_of_this_format[part]",
    ),
    Mutation(
        "unknown-key-of-a-snapshot-ignored",
        "A snapshot that says more than this release understands is refused.",
        SNAPSHOT,
        "class SnapshotRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):",
        "class SnapshotRecord(msgspec.Struct, frozen=True):",
        f"{NEWER}::test_an_unknown_key_in_a_document_of_this_format[snapshot]",
    ),
    Mutation(
        "format-not-checked",
        "What a newer release wrote is refused.",
        METADATA,
        "    if version > FORMAT_VERSION:",
        "    if version < 0:",
        f"{NEWER}::test_a_document_of_the_next_format[.snp]",
    ),
    Mutation(
        "format-of-parts-not-checked",
        "A part of a newer format in a snapshot of this one is refused.",
        SNAPSHOT,
        "for described in (header, *header.parts):",
        "for described in (header,):",
        f"{NEWER}::test_a_part_of_the_next_format_in_a_snapshot_of_this",
    ),
    Mutation(
        "section-outside-the-part",
        "Metadata whose sections lie outside the part are refused.",
        METADATA,
        "piece.offset + piece.size > self.compressed_bytes for",
        "piece.offset + piece.size < 0 for",
        f"{DECODERS}::test_a_section_outside_its_part_is_refused",
    ),
)

_READING = (
    Mutation(
        "chunk-checksum-not-checked",
        "Values that were changed are not served.",
        CHUNKS,
        '        verify32(data, int(self.checks[number]), self.path, int(self.offsets[number]), "a chunk")\n',
        "",
        f"{FLIPS}[compact]",
    ),
    Mutation(
        "page-checksum-not-checked",
        "An index that was changed is not followed.",
        FILE_PART,
        "            verify32(piece, int(check[number]), path, offset, what)",
        "            pass",
        f"{FLIPS}[compact]",
    ),
    Mutation(
        "pages-checksum-not-checked",
        "A list of pages that was changed is not followed.",
        FILE_PART,
        '        verify(data, piece.checksum, path, offset, "the list of its pages")\n',
        "",
        f"{FLIPS}[compact]",
    ),
    Mutation(
        "summary-checksum-not-checked",
        "What is known of blocks is not believed after it was changed.",
        FILE_PART,
        "            verify32(\n"
        "                data, int(meta.summary_check[number]), wanted[0], wanted[1], "
        '"what is known of its blocks"\n'
        "            )\n",
        "",
        f"{SUMMARIES}::test_every_flip_is_found_where_it_is_read_and_by_checking",
    ),
    Mutation(
        "dictionary-checksum-not-checked",
        "A dictionary that was changed is not looked up.",
        FILE_PART,
        "            verify(piece, stored.dictionary.checksum, path, offset, "
        'f"the dictionary of {stored.column.name}")\n',
        "",
        f"{FLIPS}[compact]",
    ),
    Mutation(
        "index-bounds-not-checked",
        "An index that points outside its section is corruption.",
        FILE_PART,
        "        if piece is None or min(offset, size) < 0 or offset + size > piece.size:",
        "        if piece is None:",
        f"{CHECKING}::test_an_index_that_does_not_agree_with_the_rows_is_found",
    ),
    Mutation(
        "index-arrays-not-checked",
        "An index of other arrays than were written is corruption.",
        INDEX,
        "if {name: array.dtype.str for name, array in arrays.items()} != types:",
        "if not types:",
        f"{DECODERS}::TestTheIndex::test_arrays_of_another_type",
    ),
    Mutation(
        "index-rows-not-limited",
        "An index cannot claim more rows than a primary block has.",
        INDEX,
        "    if primary_rows.max(initial=0) > MAX_BLOCK_ROWS:",
        "    if primary_rows.max(initial=0) < 0:",
        f"{DECODERS}::TestTheIndex::test_more_rows_than_a_primary_block_has",
    ),
    Mutation(
        "wide-part-not-synced",
        "The names of a part's files are durable before a snapshot names it.",
        "measurefs/part/sections.py",
        "        self._fs.sync_path(self._wide)\n",
        "",
        "tests/crash/test_crashes.py::test_nothing_goes_wrong_without_faults[first_write-wide]",
    ),
)

_ROWS = (
    Mutation(
        "series-merged-by-id",
        "Two entities that share an id stay two series.",
        SERIES,
        "    if same.all():\n        return new\n",
        "    if len(same):\n        return new\n",
        "tests/part/test_part_series.py::test_merged_tables_hold_every_series_once",
    ),
    Mutation(
        "series-found-by-id",
        "A search for an entity does not find another of the same id.",
        "measurefs/part/part.py",
        "        return candidates[[key in self.keys for key in entity_keys(entities)]]\n",
        "        return candidates\n",
        "tests/query/test_conditions.py::test_series_whose_ids_collide_stay_apart",
    ),
    Mutation(
        "lowest-version-wins",
        "Of rows of the same series and time the one with the highest version counts.",
        ROWS,
        "order = np.lexsort((versions, times, codes))",
        "order = np.lexsort((~versions, times, codes))",
        "tests/table/test_table_writing.py::test_versions_count_more_than_the_order_of_arrival",
    ),
    Mutation(
        "earlier-of-equal-versions-wins",
        "Of rows of the same version the later one counts.",
        ROWS,
        "order = np.lexsort((versions, times, codes))",
        "order = np.lexsort((-np.arange(len(codes)), versions, times, codes))",
        "tests/part/test_row_order.py::test_the_highest_version_counts_and_of_equal_ones_the_later",
    ),
)

_CHECKING = (
    Mutation(
        "verify-without-chunk-checksums",
        "Verifying a part finds a chunk whose bytes decode and are not those that were written.",
        VERIFY,
        "        data = chunks.verified(number)\n",
        "        data = chunks.pieces[number]\n",
        f"{CHECKING}::test_every_flip_is_found_and_named",
    ),
    Mutation(
        "verify-without-section-checksums",
        "Verifying a part compares each section with the checksum that its metadata names.",
        VERIFY,
        "if reader.checksum(name) != piece.checksum and not found.within(span):",
        "if reader.checksum(name) is None:",
        f"{CHECKING}::test_a_section_of_another_checksum_is_found",
    ),
    Mutation(
        "verify-without-order",
        "Verifying a part finds rows that are out of order.",
        AGREEMENT,
        "        yield from self._order_faults(number, page, times)\n",
        "",
        f"{CHECKING}::test_times_out_of_order_are_found",
    ),
    Mutation(
        "verify-without-statistics",
        "Verifying a part finds statistics that are not those of the values.",
        VERIFY,
        "            if fault is not None:\n",
        "            if fault is not None and not part:\n",
        f"{CHECKING}::test_an_index_that_does_not_agree_with_the_rows_is_found",
    ),
    Mutation(
        "verify-without-summaries",
        "Verifying a part finds a summary that says something else than the rows.",
        VERIFY,
        "            fault = summary_fault(summary.columns[name], actual, page.block_rows)\n",
        "            fault = None if actual else None\n",
        f"{SUMMARIES}::test_a_summary_that_does_not_agree_with_the_rows_is_found[m2]",
    ),
    Mutation(
        "verify-takes-a-failing-store-for-damage",
        "What the file system does not give proves nothing.",
        VERIFY,
        "            self.unreadable = True\n",
        "",
        f"{CHECKING}::test_a_file_that_cannot_be_read_proves_nothing",
    ),
)

MUTATIONS: tuple[Mutation, ...] = (*_FORMAT, *_READING, *_ROWS, *_CHECKING)
