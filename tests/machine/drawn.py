"""What Hypothesis draws for a history: rows, schemas, faults and survivors."""

from __future__ import annotations

from hypothesis import strategies as st

from measurefs.testing import Fault
from tests.machine.model import HOUR, HOURS, Key

SERIES = 4
DAY = 24 * HOUR
INEXACT = 2**53 + 1
LIMITS = [-(2**63), -(2**63) + 1, 2**63 - 2, 2**63 - 1]
NEAR = [hours * HOUR + step for hours in (-24, 0, 6, 24) for step in (-1, 0, 1)]
TIMES = st.sampled_from(NEAR) | st.integers(-DAY, 2 * DAY) | st.sampled_from(LIMITS)
KEYS = st.tuples(st.integers(0, SERIES - 1), st.sampled_from(NEAR) | TIMES)
VALUES = st.none() | st.integers(0, 10**9) | st.just(INEXACT)
ROWS = st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=8)
VERSIONS = st.lists(st.sampled_from([0, 1, 2**63 - 1]), min_size=8, max_size=8)
Drawn = list[tuple[Key, int | None]]

TYPES = {
    "label": ("string", "binary"),
    "flag": ("bool", "int64", "float64"),
    "count": ("int64", "float64"),
    "note": ("string", "binary"),
}
"""What each column may become, one after another."""
TAGS = {"label"}
SPANS = st.sampled_from(["6h", "12h", "1d", "2d"])
TTLS = st.none() | st.sampled_from(sorted(HOURS))
SPECS = st.fixed_dictionaries(
    {
        "columns": st.sets(st.sampled_from(sorted(TYPES))),
        "interval": SPANS,
        "ttl": st.none() | TTLS,
        "shards": st.integers(1, 2),
    }
)

ANY = "write*|read*|sync_path|delete_file|must_rm_all|make_dir|create_*|file.*|lock.check"
"""All but letting go of a lock: who fails in that keeps it, here, for as long as the process lives."""
OPERATIONS = (
    "write",
    "read",
    "read_ranges",
    "sync_path",
    "delete_file",
    "must_rm_all",
    "read_dir",
    "make_dir",
    ANY,
)
FAULTS = st.builds(
    lambda operation, at, times, when, error: Fault(
        operation, at=at, times=times, error=error, after=when == "after", later=when == "later"
    ),
    st.sampled_from(OPERATIONS),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["before", "after", "later"]),
    st.sampled_from(["io", "disk full", "permission", "time-out"]),
)
COMMITS = st.none() | st.builds(
    lambda operation, at, after: Fault(operation, at=at, after=after),
    st.sampled_from(["write", "sync_path", "lock.check", "delete_file", ANY]),
    st.integers(1, 6),
    st.booleans(),
)
SURVIVORS = st.sampled_from(["none", "all", "killed"]) | st.integers(0, 1000)
