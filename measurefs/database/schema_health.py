"""Checking and repairing the revisions of a measure's schema."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.identity import SCHEMA
from measurefs.database.intervals import Interval
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import Revision, newest, read_revision, revision_of
from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import escape, join
from measurefs.part.verify import Damage
from measurefs.table.epochs import CORRUPT
from measurefs.table.repair import Action, RepairReport
from measurefs.table.verify import VerifyReport


def read_schema(fs: FileSystem, root: str) -> tuple[MeasureSchema | None, Damage | None]:
    """Return a measure's schema, or what is wrong with it."""
    path = join(root, SCHEMA)
    try:
        schema = newest(fs, root)
        Interval.parse(schema.interval, "interval")
    except (CorruptionError, FileSystemError) as error:
        return None, damage_of(error, error.path)
    except SchemaError as error:
        return None, Damage(path, str(error))
    if escape(schema.name) != root:
        return schema, Damage(path, f"it is of measure {schema.name!r}; was it renamed or copied?")
    return schema, None


def damage_of(error: CorruptionError | FileSystemError, path: str) -> Damage:
    """Return the damage that kept a file from being read."""
    if isinstance(error, NotExistError):
        return Damage(path, "it is missing")
    if isinstance(error, CorruptionError):
        return Damage(path, error.reason, error.offset)
    return Damage(path, f"it cannot be read: {error.reason}")


def verify_revisions(fs: FileSystem, root: str, schema: MeasureSchema | None) -> VerifyReport:
    """Check the revisions that a newer one has superseded."""
    report = VerifyReport()
    for _, damage in _superseded(fs, root, schema):
        if damage is None:
            report.files += 1
        else:
            report.damages.append(damage)
    return report


def repair_revisions(fs: FileSystem, root: str, schema: MeasureSchema | None, *, apply: bool) -> RepairReport:
    """Write damaged revisions anew, with what the newest says: nobody reads more of them than that they are there."""
    done = RepairReport(apply, VerifyReport())
    for revision, damage in _superseded(fs, root, schema):
        if damage is None:
            done.found.files += 1
            continue
        assert schema is not None
        done.found.damages.append(damage)
        done.actions.append(Action("rewritten", damage.path, damage.reason))
        if apply:
            with contextlib.suppress(NotExistError):
                fs.write(damage.path + CORRUPT, fs.read(damage.path))
            fs.sync_path(root)
            floor = schema.floor if revision.name == SCHEMA else revision.floor
            same = msgspec.structs.replace(schema, revision=revision.number, floor=floor)
            fs.write(damage.path, seal(same))
            fs.sync_path(root)
    return done


def _superseded(
    fs: FileSystem, root: str, schema: MeasureSchema | None
) -> Iterator[tuple[Revision, Damage | None]]:
    if schema is None:
        return
    for entry in list_dir(fs, root):
        revision = revision_of(entry.name)
        if revision is None or entry.is_dir or revision >= Revision.of(schema):
            continue
        try:
            read_revision(fs, root, revision)
        except NotExistError:
            continue  # collected
        except (CorruptionError, FileSystemError) as error:
            yield revision, damage_of(error, join(root, entry.name))
        else:
            yield revision, None
