"""Write the golden stores of this format version: ``python -m tests.golden.write``.

A version's directory is written once and never again: what a release has written, later ones must read. With the
same releases of the libraries that encode (pcodec, zstandard), two runs give the same bytes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import measurefs
from measurefs.fs import open_url
from measurefs.part.metadata import FORMAT_VERSION
from tests.golden import plain
from tests.golden.recorder import Recorder, describe
from tests.golden.stores import KEEP_LOCKS, STORES

HOME = Path(__file__).parent


def directory(version: int) -> Path:
    """Return where the stores of a format version are."""
    return HOME / f"format-{version}"


def write_store(name: str, target: Path) -> None:
    """Write a store's files and what is expected of them into a directory that is not there yet."""
    with tempfile.TemporaryDirectory() as scratch:
        with open_url(scratch) as fs:
            recorder = Recorder(fs)
            STORES[name](recorder)
            if name not in KEEP_LOCKS:
                for lock in [*Path(scratch).rglob("LOCK"), *Path(scratch).glob(".dropped/*.lock")]:
                    lock.unlink()
            with measurefs.open(fs, read_only=True) as db:
                for measure in db.measures():
                    recorder.check(db.measure(measure))
                expected = {
                    "format": FORMAT_VERSION,
                    "about": (STORES[name].__doc__ or "").strip(),
                    "measures": describe(db),
                    "earlier": recorder.earlier,
                }
        for file in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
            copy = target / "store" / file.relative_to(scratch)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)  # without its mode: a checkout has its own
    (target / "expected.json").write_bytes((plain.pretty(expected) + "\n").encode())


def write_all(target: Path) -> None:
    """Write every store; refuses a directory that is there.

    Raises
    ------
    FileExistsError
        The golden stores of this version were written before.
    """
    target.mkdir()
    for name in STORES:
        write_store(name, target / name)


def main() -> int:
    """Write those of this release's format, unless they are there."""
    target = directory(FORMAT_VERSION)
    try:
        write_all(target)
    except FileExistsError:
        print(f"{target} is there already, and golden stores are never written again", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {len(STORES)} stores, {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
