"""measurefs: an embedded time-series store for Python with a pluggable file system.

>>> import measurefs
>>> db = measurefs.open("memory://doc")
>>> cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
>>> cpu.write({"time": ["2026-01-01T00:00:00Z"], "host": ["a"], "usage": [0.5]})
1
>>> cpu.query().to_arrow().to_pylist()[0]["usage"]
0.5
>>> db.close()
"""

from pkgutil import extend_path

# The backends stand beside this folder in a checkout, and are part of it only once installed: this way
# Python started in a checkout finds them where they are installed.
__path__ = extend_path(__path__, __name__)

from measurefs.database import Database, Measure, open
from measurefs.fs import (
    BackpressureError,
    ClosedError,
    CorruptionError,
    DirEntry,
    ExistError,
    FencedError,
    File,
    FileSystem,
    FileSystemError,
    InvalidPathError,
    LockError,
    LockFile,
    MeasureFSError,
    NotExistError,
    PermissionError_,
    SchemaError,
    UnsupportedStoreError,
)
from measurefs.part.writer import PartOptions
from measurefs.query import QueryResult
from measurefs.table import TableOptions, TableSchema, TsTable

__version__ = "0.1.0"

__all__ = [
    "BackpressureError",
    "ClosedError",
    "CorruptionError",
    "Database",
    "DirEntry",
    "ExistError",
    "FencedError",
    "File",
    "FileSystem",
    "FileSystemError",
    "InvalidPathError",
    "LockError",
    "LockFile",
    "Measure",
    "MeasureFSError",
    "NotExistError",
    "PartOptions",
    "PermissionError_",
    "QueryResult",
    "SchemaError",
    "TableOptions",
    "TableSchema",
    "TsTable",
    "UnsupportedStoreError",
    "open",
]
