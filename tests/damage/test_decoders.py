"""Decoders on bad input, in a process whose memory is bounded and which is watched for hangs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from measurefs.codec import columns, numbers
from measurefs.codec.arrays import pack_arrays, unpack_arrays
from measurefs.codec.checksum import checksum
from measurefs.codec.numbers import default_encoding
from measurefs.codec.sealed import unseal
from measurefs.codec.types import ColumnType
from measurefs.codec.zstd import compress, decompress
from measurefs.fs import CorruptionError
from measurefs.part.index import Meta, decode_page
from measurefs.part.metadata import META, PartMetadata, Piece
from tests.damage.decoders import BOMB, PATH
from tests.damage.stores import small

BROKEN_RUNS = [
    b"",
    b"\0",
    b"\0\1\2",
    b"\1",
    b"\1\0",
    b"\1\xff\xff",
    b"\1\2\xff",
    b"\1\3\0junk",
    b"\7\2\xff\0\0",
]


def test_bad_input_is_corruption_and_takes_neither_time_nor_memory() -> None:
    command = [sys.executable, "-m", "tests.damage", "--fuzz", "--inputs", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("data", BROKEN_RUNS)
def test_a_run_of_numbers_that_is_none(data: bytes) -> None:
    with pytest.raises(CorruptionError, match=PATH):
        numbers.decode_into(data, np.empty(3, np.int64), PATH)


def test_an_empty_chunk_of_numbers_is_not_taken_for_one() -> None:
    with pytest.raises(CorruptionError, match=PATH):
        columns.decode_numbers([b""], np.empty(3, np.int64), [(0, 3)], PATH)


def test_a_frame_that_claims_more_than_it_can_hold_is_not_decompressed() -> None:
    with pytest.raises(CorruptionError, match="claims to hold 10737418240 bytes"):
        decompress(BOMB, PATH)


@pytest.mark.parametrize("content", [b"", b"\0" * (64 << 20), b"ab" * (8 << 20)])
def test_what_compresses_best_is_decompressed(content: bytes) -> None:
    assert decompress(compress(content), PATH) == content


@pytest.mark.parametrize("count", [2**32 - 1, 2**30])
def test_a_dictionary_that_claims_more_values_than_it_can_have(count: int) -> None:
    whole = columns.encode_dictionary(pa.array(["a", "b"]), default_encoding(4))
    with pytest.raises(CorruptionError, match=f"claims to have {count} values"):
        columns.decode_dictionary(count.to_bytes(4, "little") + whole[4:], ColumnType.STRING, PATH)


def test_validity_of_another_number_of_rows() -> None:
    data = columns.encode(pa.array([1, None] * 20), default_encoding(4)).data
    with pytest.raises(CorruptionError, match="5 bytes of validity for 80 rows"):
        columns.decode(data, 80, ColumnType.INT64, None, PATH)


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_a_document_nested_too_deep(depth: int) -> None:
    body = b"[" * depth + b"]" * depth
    with pytest.raises(CorruptionError, match=PATH):
        unseal(b'{"checksum":"%016x","body":%b}' % (checksum(body), body), PartMetadata, PATH)


class TestTheIndex:
    @pytest.fixture
    def page(self) -> dict[str, np.ndarray]:
        store = small()
        return dict(unpack_arrays(store.files[f"{store.wide}/primary.bin"], PATH))

    def decode(self, page: dict[str, np.ndarray]) -> None:
        store = small()
        entity = {"host": ColumnType.STRING, "port": ColumnType.INT64}
        sections = [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
        decode_page(pack_arrays(page), store.files[f"{store.wide}/series.bin"], entity, sections, PATH)

    def test_it_decodes(self, page: dict[str, np.ndarray]) -> None:
        self.decode(page)

    def test_more_rows_than_a_primary_block_has(self, page: dict[str, np.ndarray]) -> None:
        page["block_rows"] = page["block_rows"] + np.uint32(2**31)
        with pytest.raises(CorruptionError, match="more than 8192 rows"):
            self.decode(page)

    @pytest.mark.parametrize("name", ["block_rows", "checks", "nulls", "low", "section_starts"])
    def test_arrays_of_other_lengths(self, page: dict[str, np.ndarray], name: str) -> None:
        page[name] = np.concatenate([page[name]] * 2)
        with pytest.raises(CorruptionError, match=r"differ in length|other sections"):
            self.decode(page)

    @pytest.mark.parametrize("name", ["ids", "sizes", "block_min", "section_starts"])
    def test_arrays_of_another_type(self, page: dict[str, np.ndarray], name: str) -> None:
        page[name] = page[name].astype(np.float64)
        with pytest.raises(CorruptionError, match="other arrays"):
            self.decode(page)

    def test_a_list_of_pages_of_another_type(self) -> None:
        store = small()
        arrays = dict(unpack_arrays(store.files[f"{store.wide}/meta.bin"], PATH))
        arrays["primary_size"] = arrays["primary_size"].astype(np.float64)
        with pytest.raises(CorruptionError, match="other arrays"):
            Meta.decode(pack_arrays(arrays), PATH)


@pytest.mark.parametrize("piece", [Piece(0, 1 << 40, 0), Piece(1 << 62, 1, 0)])
def test_a_section_outside_its_part_is_refused(piece: Piece) -> None:
    with pytest.raises(ValueError, match="outside the part"):
        PartMetadata(1, 1, 1, 1, 1, 0, 0, 10, 10, {}, [], {META: piece}, compact=True)


def test_a_part_without_a_list_of_pages_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no meta\.bin"):
        PartMetadata(1, 1, 1, 1, 1, 0, 0, 10, 10, {}, [], {}, compact=True)
