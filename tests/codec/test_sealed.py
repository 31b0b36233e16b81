"""Sealed documents: what was sealed comes back, and anything else is corruption that names the file."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.codec.sealed import seal, unseal
from measurefs.fs import CorruptionError, UnsupportedStoreError


class Document(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    numbers: list[int]


INT64 = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SEALED = seal(Document("ü\n\"'", [2**64 - 1, -(2**63), 0]))


@settings(deadline=None)
@given(name=TEXT, numbers=st.lists(INT64))
def test_documents_come_back(name, numbers):
    document = Document(name, numbers)
    assert unseal(seal(document), Document, "file") == document


def test_a_sealed_document_is_json_that_people_can_read():
    plain = msgspec.json.decode(SEALED)
    assert plain["body"] == {"name": "ü\n\"'", "numbers": [2**64 - 1, -(2**63), 0]}
    assert len(plain["checksum"]) == 16


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_every_cut_is_corruption(length):
    with pytest.raises(CorruptionError, match="some/file"):
        unseal(SEALED[:length], Document, "some/file")


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_corruption_or_harmless(bit):
    for place in range(len(SEALED)):
        damaged = bytearray(SEALED)
        damaged[place] ^= 1 << bit
        try:
            found = unseal(bytes(damaged), Document, "some/file")
        except CorruptionError as error:
            assert error.path == "some/file"
        else:
            assert found == unseal(SEALED, Document, "some/file")


@pytest.mark.parametrize("data", [b"", b"null", b"{}", b"[]", b"\xff\xfe", b"\0" * 100, SEALED + b"x"])
def test_other_bytes_are_corruption(data):
    with pytest.raises(CorruptionError):
        unseal(data, Document, "file")


def test_a_document_of_another_kind_is_corruption():
    with pytest.raises(CorruptionError, match="unknown form"):
        unseal(seal({"name": "x"}), Document, "file")


def test_a_document_that_says_more_is_newer_and_not_damaged():
    """Whoever took it for damaged would set it aside, and what it says with it."""
    with pytest.raises(UnsupportedStoreError, match=r"'file'.*`colour`.*use a newer measurefs"):
        unseal(seal({"name": "x", "numbers": [], "colour": "red"}), Document, "file")
