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

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# The backends stand beside this folder in a checkout, and are part of it only once installed: this way
# Python started in a checkout finds them where they are installed.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from measurefs.database import Database, Measure, open
    from measurefs.database.backup import copy, restore
    from measurefs.database.repair import repair
    from measurefs.database.transfer import CopyReport
    from measurefs.database.verify import verify
    from measurefs.fs import (
        BackpressureError,
        CachedFileSystem,
        ClosedError,
        Code,
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
        NotDurableError,
        NotExistError,
        PermissionError_,
        SchemaError,
        UnsupportedStoreError,
    )
    from measurefs.part.verify import Damage
    from measurefs.part.writer import PartOptions
    from measurefs.query import QueryResult
    from measurefs.table import TableOptions, TableSchema, TsTable
    from measurefs.table.policy import MergeOptions
    from measurefs.table.repair import RepairReport
    from measurefs.table.verify import VerifyReport

__version__ = "0.1.0"

__all__ = [
    "BackpressureError",
    "CachedFileSystem",
    "ClosedError",
    "Code",
    "CopyReport",
    "CorruptionError",
    "Damage",
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
    "MergeOptions",
    "NotDurableError",
    "NotExistError",
    "PartOptions",
    "PermissionError_",
    "QueryResult",
    "RepairReport",
    "SchemaError",
    "TableOptions",
    "TableSchema",
    "TsTable",
    "UnsupportedStoreError",
    "VerifyReport",
    "copy",
    "open",
    "repair",
    "restore",
    "verify",
]

# Names are imported when they are first used: who only implements a `FileSystem`, or asks the command for help,
# does not wait for Arrow.
_HOMES = dict.fromkeys(__all__, "measurefs.fs") | {
    "CopyReport": "measurefs.database.transfer",
    "Damage": "measurefs.part.verify",
    "Database": "measurefs.database",
    "Measure": "measurefs.database",
    "MergeOptions": "measurefs.table.policy",
    "PartOptions": "measurefs.part.writer",
    "QueryResult": "measurefs.query",
    "RepairReport": "measurefs.table.repair",
    "VerifyReport": "measurefs.table.verify",
    "TableOptions": "measurefs.table",
    "TableSchema": "measurefs.table",
    "TsTable": "measurefs.table",
    "copy": "measurefs.database.backup",
    "open": "measurefs.database",
    "repair": "measurefs.database.repair",
    "restore": "measurefs.database.backup",
    "verify": "measurefs.database.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
