"""The eight specs of pkg/fs (reference 5.2), which never ran there: here on every file system."""

from __future__ import annotations

import pytest

from measurefs.fs import ExistError, FileSystemError, NotExistError

DATA = b"BanyanDB"


def test_write_flushes_a_whole_file(store_fs):
    assert store_fs.write("file", DATA) == len(DATA) == 8
    assert store_fs.read("file") == DATA


def test_create_refuses_a_file_that_exists(store_fs):
    store_fs.write("file", DATA)
    with pytest.raises(ExistError), store_fs.create_file("file") as file:
        file.write(b"other")
    assert store_fs.read("file") == DATA


def test_write_and_read(store_fs):
    with store_fs.create_file("file") as file:
        assert file.write(DATA) == 8
    with store_fs.open_file("file") as file:
        assert file.read(0, 8) == DATA


def test_writev_and_readv(store_fs):
    with store_fs.create_file("file") as file:
        assert file.writev([DATA, DATA]) == 16
    with store_fs.open_file("file") as file:
        assert file.readv([(0, 8), (8, 8)]) == [DATA, DATA]
        assert file.readv([(0, 4), (12, 4), (14, 4), (20, 4)]) == [b"Bany", b"anDB"[0:4], b"DB", b""]


def test_stream_read(store_fs):
    store_fs.write("file", DATA * 3)
    with store_fs.open_file("file") as file:
        assert list(file.stream_read(8)) == [DATA] * 3
        assert list(file.stream_read(9)) == [DATA + b"B", b"anyanDBBa", b"nyanDB"]


def test_size(store_fs):
    store_fs.write("file", DATA)
    with store_fs.open_file("file") as file:
        assert file.size() == 8


def test_reading_after_close_is_an_error(store_fs):
    store_fs.write("file", DATA)
    file = store_fs.open_file("file")
    file.close()
    with pytest.raises(FileSystemError):
        file.read(0, 8)


def test_delete_removes(store_fs):
    store_fs.write("file", DATA)
    store_fs.delete_file("file")
    for call in (store_fs.read, store_fs.open_file, store_fs.delete_file):
        with pytest.raises(NotExistError):
            call("file")
