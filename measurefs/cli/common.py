"""What the commands share: arguments, errors and exit statuses, consoles, how numbers are shown."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from measurefs.database import Database

F = TypeVar("F", bound=Callable[..., Any])

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

_WIDTH_OF_A_PIPE = 120


class BadInput(click.ClickException):
    """What was asked for, or the data given, is wrong: exit status 2."""

    exit_code = BAD_INPUT


class Failed(click.ClickException):
    """Something went wrong while running: exit status 1."""

    exit_code = FAILED


class OneLineErrors(click.Group):
    """A group whose errors are one line on stderr and an exit status; a bug still shows its traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and leave the process, as click's own does."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        return _run(
            lambda: super(OneLineErrors, self).main(
                args, prog_name, complete_var, standalone_mode=False, **extra
            )
        )


def _run(command: Callable[[], Any]) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):  # what the terminal's encoding lacks is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        result = command()
        sys.stdout.flush()
    except click.Abort:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _leave_pipe()
    except Exception as error:
        status, message = _explain(error)
        if status is None:
            raise
        click.echo(f"Error: {' '.join(message.split())}", err=True)
        sys.exit(status)
    sys.exit(result if isinstance(result, int) else 0)


def _leave_pipe() -> NoReturn:
    """Leave quietly when whoever read our output has enough (``| head``)."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAILED)


def _explain(error: Exception) -> tuple[int | None, str]:
    """Return the exit status and the line for an error; None if it is a bug."""
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "measurefs"
        return BAD_INPUT, f"{error.format_message().rstrip('.')}; see: {command} --help"
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    from measurefs.fs import InvalidPathError, MeasureFSError, UnsupportedStoreError  # noqa: PLC0415
    from measurefs.fs.errors import SchemaError  # noqa: PLC0415

    if isinstance(error, SchemaError | UnsupportedStoreError | InvalidPathError):
        return BAD_INPUT, str(error)
    return FAILED if isinstance(error, MeasureFSError) else None, str(error)


@contextlib.contextmanager
def user_file(
    path: object, doing: str = "read", error: type[click.ClickException] = BadInput
) -> Iterator[None]:
    """Turn the operating system's refusal of a file that the user named into one clear line."""
    from measurefs.fs import MeasureFSError  # noqa: PLC0415

    try:
        yield
    except (MeasureFSError, BrokenPipeError):
        raise
    except OSError as refusal:
        raise error(
            f"cannot {doing} {str(path)!r}: {refusal.strerror or refusal}; "
            "check the path and its permissions and run the command again"
        ) from refusal


# Arguments


def _parse_storage_options(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{text!r} is not of the form key=value")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def storage_options(command: F) -> F:
    """Add ``--storage-option``, given to the command as the dict ``storage_options``."""
    return click.option(
        "--storage-option",
        "storage_options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_storage_options,
        help="An option of the backend, such as key=... or endpoint_url=... for S3; the value may be JSON. Repeatable.",
    )(command)


def to_options(command: F) -> F:
    """Add ``--to-option``, given to the command as the dict ``to_options``."""
    return click.option(
        "--to-option",
        "to_options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_storage_options,
        help="The same for DST. Repeatable.",
    )(command)


def as_json(command: F) -> F:
    """Add ``--json``, given to the command as the bool ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)


def open_store(url: str, options: Mapping[str, Any], cache: str | None = None) -> Database:
    """Open a store that is there, read-only; its parts are read through a cache, if one is given.

    Raises
    ------
    BadInput
        There is none.
    """
    import measurefs  # noqa: PLC0415

    try:
        with reaching(url):
            return measurefs.open(url, read_only=True, storage_options=options, cache=cache)
    except measurefs.NotExistError as error:
        raise BadInput(
            f"there is no measurefs store at {url!r}; check the URL, or make a store with 'measurefs ingest'"
        ) from error


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Name the URL in what the file system says, and what to check; missing things and locks speak for themselves."""
    from measurefs.fs import FileSystemError, InvalidPathError, LockError, NotExistError  # noqa: PLC0415

    try:
        yield
    except (NotExistError, LockError, InvalidPathError):
        raise
    except FileSystemError as error:
        raise Failed(
            f"cannot reach the store at {url!r}: {error}; check the URL, the permissions and the --storage-option"
        ) from error


# Output


def console(*, stderr: bool = False) -> Console:
    """Return a console; in a pipe it is as wide as tables are rather than a guess at a terminal's width."""
    from rich.console import Console  # noqa: PLC0415

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_PIPE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_json(data: Any) -> None:
    """Print figures for machines: raw numbers, times as ISO 8601."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def count(number: float) -> str:
    """Show a number of rows and the like: ``12,345``."""
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Show a number of bytes: ``1.2 MB``."""
    from rich.filesize import decimal  # noqa: PLC0415

    return decimal(int(number)).replace("bytes", "B").replace("byte", "B")


def plural(number: int, noun: str) -> str:
    """Show a number of things: ``1 file``, ``2 files``; series stay series."""
    ending = "" if number == 1 or noun.endswith("s") else "s"
    return f"{count(number)} {noun}{ending}"


def iso(nanoseconds: int | None) -> str | None:
    """Return a time as ISO 8601 in UTC, with as many digits as it needs."""
    if nanoseconds is None:
        return None
    import numpy as np  # noqa: PLC0415

    whole, fraction = divmod(nanoseconds, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{np.datetime64(whole, 's')}{digits}Z"


def moment(nanoseconds: int | None) -> str:
    """Show a time to the second, in UTC."""
    if nanoseconds is None:
        return "-"
    import numpy as np  # noqa: PLC0415

    return str(np.datetime64(nanoseconds // 1_000_000_000, "s")).replace("T", " ")
