"""Checking and repairing the files of a measure's tags; those of its tables belong to the tables."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.schema import MeasureSchema
from measurefs.database.tags import TAGS, TagRecord, is_tag_file, read_tag, rebuilt_tag, tag_names, tag_path
from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join
from measurefs.part.verify import Damage
from measurefs.table.epochs import CORRUPT
from measurefs.table.repair import Action, RepairReport
from measurefs.table.tagging import list_tags
from measurefs.table.tags import TagName
from measurefs.table.verify import VerifyReport


def verify_tags(fs: FileSystem, root: str) -> VerifyReport:
    """Check the files of the tags of the measure in a directory."""
    entries = [entry.name for entry in list_dir(fs, join(root, TAGS))]
    aside = [name for name in entries if name.endswith(CORRUPT)]
    tags = [name for name in entries if is_tag_file(name)]
    return VerifyReport(
        files=len(tags),
        set_aside=len(aside),
        foreign=len(entries) - len(aside) - len(tags),
        damages=[damage for name in tag_names(fs, root) for damage in _damages(fs, root, name)],
    )


def _damages(fs: FileSystem, root: str, name: str) -> Iterator[Damage]:
    path = tag_path(root, name)
    try:
        record = read_tag(fs, root, name)
        lost = _lost(fs, root, record)
        if lost:
            read_tag(fs, root, name)  # it is removed first, and what the tables keep of it after that
    except NotExistError:
        return
    except CorruptionError as error:
        yield Damage(path, error.reason, error.offset)
        return
    except FileSystemError as error:
        yield Damage(path, f"it cannot be read: {error.reason}")
        return
    for table in lost:
        yield Damage(path, f"its snapshot of {join(root, table)!r} is lost")


def _lost(fs: FileSystem, root: str, record: TagRecord) -> list[str]:
    """Return the tables that do not keep what a tag says they do."""
    return [
        path
        for path, epoch in record.tables.items()
        if TagName(epoch, record.tag) not in list_tags(fs, join(root, path))
    ]


def repair_tags(fs: FileSystem, root: str, schema: MeasureSchema | None, *, apply: bool) -> RepairReport:
    """Let every tag keep what its tables still have of it; see `Measure.repair`."""
    done = RepairReport(apply, verify_tags(fs, root))
    damaged = dict.fromkeys(damage.path for damage in done.found.damages)
    names = [name for name in tag_names(fs, root) if tag_path(root, name) in damaged]
    for name in names:
        path = tag_path(root, name)
        record = None if schema is None else _whole(fs, root, name, schema)
        if record is None:
            done.left += [damage for damage in done.found.damages if damage.path == path]
            continue
        tables = len(record.tables)
        done.actions.append(Action("rewritten", path, f"it keeps what there is of it; tables: {tables}"))
        if apply:
            fs.write(path + CORRUPT, fs.read(path))
            fs.write(path, seal(record))
            fs.sync_path(join(root, TAGS))
    return done


def _whole(fs: FileSystem, root: str, name: str, schema: MeasureSchema) -> TagRecord | None:
    """Return what a damaged tag is to say; None if it cannot be read, though it may be whole."""
    try:
        record = read_tag(fs, root, name)
    except CorruptionError:
        return rebuilt_tag(fs, root, name, schema)
    except FileSystemError:
        return None
    lost = _lost(fs, root, record)
    kept = {path: epoch for path, epoch in record.tables.items() if path not in lost}
    return msgspec.structs.replace(record, tables=kept)
