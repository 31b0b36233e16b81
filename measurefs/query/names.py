"""Names that a query gives: those of the columns every measure has, and what to say of one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

import pyarrow as pa

from measurefs.fs.errors import SchemaError
from measurefs.part.part import TIME, VERSION

__all__ = ["TIME", "TIME_TYPE", "VERSION", "check_names"]

TIME_TYPE = pa.timestamp("ns", tz="UTC")


def check_names(names: Iterable[str], known: Collection[str], what: str, kind: str = "column") -> None:
    """Raise `SchemaError`, suggesting the nearest name, unless all names are known.

    Parameters
    ----------
    names, known : str
        Names of columns, or of something else.
    what, kind : str
        Where the names were given, and what they name, for the message.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise SchemaError(f"{what} names the unknown {kind} {name!r}; {hint}")
