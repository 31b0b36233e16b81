"""Points in time as users give them."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.codec.memory import one_text
from measurefs.fs.errors import SchemaError

MIN_TIME = -(2**63)
MAX_TIME = 2**63 - 1

_COARSE_UNITS = frozenset({"Y", "M", "W", "D", "h", "m"})


def to_nanoseconds(value: Any, what: str = "time") -> int:
    """Turn a point in time into nanoseconds since 1970-01-01 UTC.

    Parameters
    ----------
    value : int, str, datetime, date, numpy.datetime64, pandas.Timestamp or pyarrow scalar
        Integers are nanoseconds already; strings are ISO 8601; what has no time zone is UTC.
    what : str
        What it is, for the message.

    Raises
    ------
    SchemaError
        It is no point in time, or outside the years 1677 to 2262 that nanoseconds can tell.
    """
    try:
        return _to_nanoseconds(value)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise SchemaError(
            f"cannot use {value!r} as {what}: give ISO 8601 ('2026-01-31T12:00:00Z'), a datetime, "
            f"or nanoseconds since 1970 as an integer ({error})"
        ) from error


def _to_nanoseconds(value: Any) -> int:
    if isinstance(value, bool) or value is None:
        raise TypeError("it is no time")
    if isinstance(value, pa.Scalar):
        value = value.as_py() if not pa.types.is_timestamp(value.type) else value.cast("timestamp[ns]").value
    if isinstance(value, int | np.integer):
        return _within(int(value))
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, np.datetime64):
        if np.datetime_data(value.dtype)[0] in _COARSE_UNITS:
            value = value.astype("datetime64[s]")
        return _within(int(pa.scalar(value).cast("timestamp[ns]").value))
    as_unit = getattr(value, "as_unit", None)
    if as_unit is not None and isinstance(value, datetime.datetime):  # pandas', to the nanosecond
        nanoseconds = int(as_unit("ns").value)
        if nanoseconds == MIN_TIME:
            raise TypeError("NaT is no time")
        return nanoseconds
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    if isinstance(value, datetime.datetime):
        return _from_datetime(value)
    raise TypeError(f"a {type(value).__name__} is no time")


def _from_datetime(value: datetime.datetime) -> int:
    aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    since = aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return _within((since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000)


def _parse(text: str) -> int:
    given = one_text(text)
    try:
        times = given.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        times = given.cast(pa.timestamp("ns", tz="UTC"))
    return int(times[0].value)


def _within(nanoseconds: int) -> int:
    if not MIN_TIME <= nanoseconds <= MAX_TIME:
        raise OverflowError("it is outside the years 1677 to 2262")
    return nanoseconds
