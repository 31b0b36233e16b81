"""What a program waits for before it can begin: the modules that are imported, each by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import measurefs

NOT_OURS = {
    "aiobotocore",
    "asyncio",
    "boto3",
    "botocore",
    "click",
    "dask",
    "duckdb",
    "fsspec",
    "matplotlib",
    "polars",
    "psutil",
    "pyarrow.acero",  # brings data sets
    "pyarrow.dataset",  # brings pandas, and Parquet
    "pyarrow.parquet",
    "rich",
    "s3fs",
    "ssl",
}
"""What no program needs that opens a local store, writes and reads rows."""

SLOW_TO_READ = {
    "importlib.metadata",  # looks through all that is installed
    "pandas",
    "pyarrow.compute",  # writes a wrapper for each of Arrow's functions
    "tenacity",
}
"""What nobody needs who opens a local store and asks for rows: each takes longer than that."""

RARELY = {
    "measurefs.backends.fsspec",
    "measurefs.backends.s3",
    "measurefs.cli",
    "measurefs.database.backup",
    "measurefs.database.repair",
    "measurefs.database.transfer",
    "measurefs.database.verify",
    "measurefs.interop",
    "measurefs.query.aggregation",
    "measurefs.testing",
}

HELP = """
sys.argv = ["measurefs", "--help"]
try:
    from measurefs.cli import main
    main()
except SystemExit as end:
    assert not end.code
"""

OPENING = """
import measurefs
db = measurefs.open({place!r})
"""

DATACLASSES = """
import dataclasses, sys, measurefs.database, measurefs.backends.local
ours = [vars(module) for name, module in sys.modules.items() if name.startswith("measurefs.")]
found = {value for names in ours for value in names.values() if isinstance(value, type)}
print(*(kind.__name__ for kind in found if dataclasses.is_dataclass(kind)))
"""

USING = """
cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
cpu.write({"time": ["2026-01-01T00:00:00Z"], "host": ["a"], "usage": [0.5]})
db.flush()
assert cpu.query(where={"host": "a"}).to_arrow().num_rows == 1
db.close()
"""


ASKING = """
found = db.measure("cpu").query(100, 200, {"host": "host-3"}).to_arrow()
assert found.num_rows == 15, found.num_rows
db.close()
"""


def loaded(program: str) -> set[str]:
    """Return the modules that a process has loaded once it has run a program."""
    source = f"import sys\n{program}\nprint('\\n' + __import__('json').dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_help_needs_no_arrays() -> None:
    modules = loaded(HELP)
    assert "measurefs.cli" in modules
    assert not modules & {"numpy", "pandas", "pyarrow", "rich", "measurefs.database", "measurefs.fs"}


def test_opening_needs_nothing_slow(tmp_path) -> None:
    modules = loaded(OPENING.format(place=str(tmp_path)))
    assert "measurefs.backends.local" in modules
    assert not modules & (NOT_OURS | RARELY | SLOW_TO_READ)


def test_hardly_a_class_is_a_dataclass() -> None:
    """Each takes half a millisecond to define, a struct a fiftieth of that: only what users make copies of are some."""
    run = subprocess.run([sys.executable, "-c", DATACLASSES], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {"MergeOptions", "PartOptions", "Runtime", "TableOptions"}


def test_a_question_about_a_series_needs_nothing_slow(tmp_path) -> None:
    with measurefs.open(tmp_path) as db:
        cpu = db.create_measure("cpu", entity=["host"], tags={"team": "string"}, fields={"usage": "float64"})
        hosts = [f"host-{number % 7}" for number in range(1_000)]
        cpu.write({"time": range(1_000), "host": hosts, "team": hosts, "usage": [0.25] * 1_000})
    modules = loaded(OPENING.format(place=str(tmp_path)) + ASKING)
    assert not modules & (NOT_OURS | RARELY | SLOW_TO_READ)


def test_writing_and_reading_need_nothing_optional() -> None:
    # Arrow itself loads pandas, where it is installed, for the first array that it makes of Python's values.
    modules = loaded(OPENING.format(place="memory://imports") + USING)
    assert "measurefs.backends.memory" in modules
    assert not modules & (NOT_OURS | RARELY)
