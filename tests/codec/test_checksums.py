"""Checksums: the known ones of xxh3, and errors that say where."""

from __future__ import annotations

import pytest

from measurefs.codec.checksum import checksum, checksum32, verify, verify32
from measurefs.fs import CorruptionError

DATA = bytes(range(256)) * 3


def test_they_are_xxh3_so_that_other_tools_can_check_a_store():
    assert checksum(b"") == 0x2D06800538D394C2
    assert checksum32(b"") == 0x38D394C2
    assert checksum(memoryview(DATA)) == checksum(bytearray(DATA)) == checksum(DATA)


@pytest.mark.parametrize(("make", "check"), [(checksum, verify), (checksum32, verify32)])
def test_every_flipped_bit_is_found(make, check):
    expected = make(DATA)
    check(DATA, expected, "file", 0, "a piece")
    for place in range(0, len(DATA), 7):
        damaged = bytearray(DATA)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(CorruptionError):
            check(damaged, expected, "file", 0, "a piece")


@pytest.mark.parametrize("check", [verify, verify32])
def test_the_error_names_file_offset_and_piece(check):
    with pytest.raises(CorruptionError, match=r"'some/file' at byte 17.*a chunk") as raised:
        check(b"x", 0, "some/file", 17, "a chunk")
    assert (raised.value.path, raised.value.offset) == ("some/file", 17)
