"""Whether a file system is fit to keep stores on: found out by trying, through the interface alone."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

import msgspec

from measurefs.fs.checks import (
    APART,
    LIST,
    MIB,
    PROCEDURES,
    WRITE,
    Procedure,
    Refuted,
    Scratch,
    Skipped,
)
from measurefs.fs.errors import FileSystemError, MeasureFSError, NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.latency import Latency, measure, measure_reading
from measurefs.fs.paths import join
from measurefs.fs.store_checks import RANGES, STORE, files_to_time, reading_procedures

SCRATCH = "_doctor"
"""The directory in which an examination makes one of its own."""

LARGE = 4 * MIB
LARGER = 72 * MIB
"""Bytes of the large file; the larger one goes up in parts where the backend does that above its default of 64 MiB."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Check(msgspec.Struct, frozen=True):
    """What came of one check.

    Attributes
    ----------
    name : str
    proves : str
        What is known if it passed.
    outcome : str
        ``passed``, ``failed`` or ``skipped``.
    details : str
        What was seen, or why it was skipped.
    advice : str
        What to do if it failed.
    means : str
        What is known of the file system if it failed.
    permission : str
        What seems not to be allowed, as S3 calls it.
    """

    name: str
    proves: str
    outcome: str
    details: str
    advice: str = ""
    means: str = ""
    permission: str = ""

    @property
    def reason(self) -> str:
        """For the verdict."""
        return f"{self.means} ({self.permission})" if self.permission else self.means


class Examination(msgspec.Struct, frozen=True):
    """What was found.

    Attributes
    ----------
    read_only : bool
        Whether only reading was tried.
    checks : tuple of Check
        In the order in which they were made.
    latency : Latency or None
        None if something failed before it could be measured.
    left_over : str
        The scratch directory, if it could not be removed.
    """

    read_only: bool
    checks: tuple[Check, ...]
    latency: Latency | None = None
    left_over: str = ""

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.outcome == FAILED]

    @property
    def fit(self) -> bool:
        """Whether the file system is fit for what it was examined for."""
        return not self.failed

    @property
    def verdict(self) -> str:
        """One sentence: what the file system is fit for, or why it is not."""
        if self.fit:
            return "fit to read" if self.read_only else "fit for one writer and many readers"
        reasons = "; ".join(check.reason for check in self.failed)
        failed = {check.name for check in self.failed}
        if failed <= APART:
            return f"unfit for more than one writer: {reasons}"
        readable = any(check.name == STORE and check.outcome == PASSED for check in self.checks)
        return f"fit to read only: {reasons}" if readable and failed == {WRITE} else f"unfit: {reasons}"


def examine(
    fs: FileSystem,
    *,
    read_only: bool = False,
    large: int = LARGE,
    samples: int = 20,
    tell: Callable[[str], object] = lambda name: None,
    random: Random | None = None,
) -> Examination:
    """Try out whether a file system keeps the promises that measurefs rests on, and how fast it is.

    All is done in a directory of its own, below ``_doctor``, which is removed in the end. Stores on the file system are
    not touched. No clock has to be right for anything that is tried, nor for measurefs to work.

    Parameters
    ----------
    fs : FileSystem
    read_only : bool
        Try only what needs no permission to write, on a store that is there.
    large : int
        Bytes of the largest file.
    samples : int
        How often a small call is timed.
    tell : callable, optional
        Called with the name of each check before it is made.
    random : random.Random, optional
        For names and contents, in tests.

    Returns
    -------
    Examination
        What was found; failures of the file system are results, and not raised.
    """
    random = random or Random(secrets.randbits(128))
    name = f"{random.getrandbits(64):016x}"
    if read_only:
        return Examination(True, *_examine_reading(fs, name, samples, tell))
    at = Scratch(fs, join(SCRATCH, name), random, large)
    checks: list[Check] = []
    latency, left_over = None, ""
    try:
        _make(checks, PROCEDURES, at, tell)
        if checks[0].permission:
            found, latency = _examine_reading(fs, name, samples, tell)
            if found[0].outcome == PASSED or found[0].permission:  # else there is no store yet
                checks += found
        else:
            latency = _time(checks, at, lambda: measure(at, samples), LIST, tell)
    finally:
        left_over = _remove(at)
    return Examination(False, tuple(checks), latency, left_over)


def _make(
    checks: list[Check], procedures: Sequence[Procedure], at: Scratch, tell: Callable[[str], object]
) -> None:
    """Make checks in turn, and append what came of them; skip those that need what did not pass."""
    for procedure in procedures:
        passed = {check.name for check in checks if check.outcome == PASSED}
        lacking = [name for name in procedure.needs if name not in passed]
        tell(procedure.name)
        if lacking:
            reason = f"it rests on {' and '.join(map(repr, lacking))}"
            checks.append(Check(procedure.name, procedure.proves, SKIPPED, reason))
        else:
            checks.append(_check(procedure, at))


def _check(procedure: Procedure, at: Scratch) -> Check:
    def failed(seen: str, advice: str = "", permission: str = "") -> Check:
        if permission:
            advice = f"check the credentials, and allow {permission}; {advice}".rstrip("; ")
        return Check(procedure.name, procedure.proves, FAILED, seen, advice, procedure.otherwise, permission)

    try:
        return Check(procedure.name, procedure.proves, PASSED, procedure.run(at))
    except Skipped as reason:
        return Check(procedure.name, procedure.proves, SKIPPED, str(reason))
    except Refuted as refuted:
        return failed(str(refuted), refuted.advice, refuted.permission)
    except PermissionError as error:
        return failed(str(error), permission=_permission(error))
    except MeasureFSError as error:  # these say themselves what to do
        return failed(str(error))
    except Exception as error:  # noqa: BLE001 - whatever somebody's backend raises is what was to be found out
        return failed(f"{type(error).__name__}: {error}", "the backend must raise a FileSystemError instead")


_PERMISSIONS = {
    "delete_file": "s3:DeleteObject",
    "delete_files": "s3:DeleteObject",
    "must_rm_all": "s3:DeleteObject",
    "open_file": "s3:GetObject",
    "read": "s3:GetObject",
    "read_dir": "s3:ListBucket",
    "read_ranges": "s3:GetObject",
    "read_tree": "s3:ListBucket",
    "create_lock_file": "s3:ListBucket, s3:GetObject, s3:PutObject",
}


def _permission(error: PermissionError) -> str:
    """Name what is not allowed, as S3 calls it: from what the store says, else from what was being done."""
    named = re.search(r"\b(?:s3|kms):[A-Z]\w+", str(error))
    if named:
        return named[0]
    operation = error.operation if isinstance(error, FileSystemError) else ""
    return _PERMISSIONS.get(operation, "s3:PutObject")


def _time(
    checks: list[Check], at: Scratch, run: Callable[[], Latency], needs: str, tell: Callable[[str], object]
) -> Latency | None:
    """Measure how long calls take, which is a check, too, as any of them may fail; needs as those of a check."""
    found: list[Latency] = []

    def timed(_: Scratch) -> str:
        found.append(run())
        return "see the figures"

    procedure = Procedure("latency", "many calls in turn succeed", "calls fail now and then", timed, (needs,))
    _make(checks, [procedure], at, tell)
    return found[0] if found else None


def _examine_reading(
    fs: FileSystem, name: str, samples: int, tell: Callable[[str], object]
) -> tuple[tuple[Check, ...], Latency | None]:
    at = Scratch(fs, f"{SCRATCH}-{name}", Random(name), 0)
    checks: list[Check] = []
    _make(checks, reading_procedures(at.root), at, tell)
    latency = _time(checks, at, lambda: measure_reading(fs, *files_to_time(fs), samples), RANGES, tell)
    return tuple(checks), latency


def _remove(at: Scratch) -> str:
    """Remove the scratch directory; return its path if something of it may be left."""
    if not at.files:
        return ""
    try:
        with _unless_missing():
            at.fs.must_rm_all(at.root)
            if not at.fs.read_dir(SCRATCH):
                at.fs.must_rm_all(SCRATCH)
    except (MeasureFSError, OSError):
        return _remove_files(at)
    return ""


@contextmanager
def _unless_missing() -> Iterator[None]:
    try:
        yield
    except NotExistError:
        return


def _remove_files(at: Scratch) -> str:
    """Where no tree can be removed, as one cannot be without listing it: delete the names that were used."""
    try:
        at.fs.delete_files(at.files)
    except (MeasureFSError, OSError):
        return at.root
    return ""
