"""The first use anybody has: readings of several sources as they come, and one week of one source back."""

from __future__ import annotations

import io
import random

import pandas as pd
import pytest

from tests.conftest import Store
from tests.database.helpers import open_store

SOURCES = ["roof", "cellar", "garden"]
WEEK = pd.Timestamp("2026-03-02T00:00:00Z"), pd.Timestamp("2026-03-09T00:00:00Z")


def readings(source: str) -> str:
    """Return a CSV of three weeks of readings: every ten minutes, with gaps, repeated and out of order."""
    chance = random.Random(source)
    times = pd.date_range("2026-02-23", "2026-03-16", freq="10min", inclusive="left")
    rows = [(str(time), round(chance.gauss(20, 5), 2)) for time in times if chance.random() > 0.1]
    rows += [(time, round(value + 1, 2)) for time, value in chance.sample(rows, 200)]
    for _ in range(200):
        first, second = chance.sample(range(len(rows)), 2)
        rows[first], rows[second] = rows[second], rows[first]
    return "timestamp,value\n" + "".join(f"{time},{value}\n" for time, value in rows)


def frame_of(source: str) -> pd.DataFrame:
    frame = pd.read_csv(io.StringIO(readings(source)), parse_dates=["timestamp"])
    return frame.assign(source=source)


def pandas_answer(source: str | None) -> pd.DataFrame:
    """The week in pandas: the last of the readings with the same timestamp counts."""
    everything = pd.concat([frame_of(each) for each in SOURCES])
    everything["timestamp"] = everything["timestamp"].dt.tz_localize("UTC").dt.as_unit("ns")
    last = everything.drop_duplicates(["source", "timestamp"], keep="last")
    start, end = WEEK
    week = last[(last["timestamp"] >= start) & (last["timestamp"] < end)]
    if source is not None:
        week = week[week["source"] == source]
    return week.sort_values(["timestamp", "source"]).reset_index(drop=True)


@pytest.mark.parametrize("source", [*SOURCES, None])
def test_a_week_equals_pandas_answer(local_store: Store, source: str | None) -> None:
    with open_store(local_store) as database:
        temperature = database.create_measure("temperature", entity=["source"], fields={"value": "float64"})
        for each in SOURCES:
            frame = frame_of(each)
            written = sum(
                temperature.write(frame.iloc[first : first + 500], time_column="timestamp")
                for first in range(0, len(frame), 500)
            )
            assert written == len(frame)
    with open_store(local_store, read_only=True) as database:
        where = None if source is None else {"source": source}
        found = database.measure("temperature").query(*WEEK, where=where).to_pandas()
    found = found.rename(columns={"time": "timestamp"}).sort_values(["timestamp", "source"])
    expected = pandas_answer(source)
    pd.testing.assert_frame_equal(
        found[["timestamp", "value", "source"]].reset_index(drop=True), expected, check_exact=True
    )
    assert len(expected) > 800


def test_the_same_rows_from_every_store(local_store: Store, memory_store: Store, s3_store: Store) -> None:
    """Row for row, in the same order."""
    answers = []
    for store in (local_store, memory_store, s3_store):
        with open_store(store) as database:
            measure = database.create_measure("t", entity=["source"], fields={"value": "float64"})
            for source in SOURCES:
                measure.write(frame_of(source), time_column="timestamp")
        with open_store(store) as database:
            answers.append(database.measure("t").query(*WEEK).to_arrow())
    assert answers[0].equals(answers[1])
    assert answers[0].equals(answers[2])
    assert answers[0].num_rows > 2400
