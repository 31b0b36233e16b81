"""The benchmarks work: two engines on few rows, from the rows to tables. How long it takes is no matter of tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import ingest, limits, report
from benchmarks.answers import differs
from benchmarks.bounds import add_bounds
from benchmarks.budgets import verdicts
from benchmarks.data import save
from benchmarks.engines import Measurefs, of_name
from benchmarks.fleet import Asked, Fleet
from benchmarks.growth import exponent
from benchmarks.in_memory import InMemory
from benchmarks.measures import QUESTIONS
from benchmarks.places import Folder
from benchmarks.processes import FailedError, elsewhere
from benchmarks.queries import compare
from benchmarks.results import MACHINE, Results
from benchmarks.rewriting import rewrite
from benchmarks.run import store

FLEET, WIDE = Fleet(20, 500), Fleet(500, 10)
ENGINES = ("measurefs", "SQLite")


def test_engines_agree_with_each_other_and_with_numpy(tmp_path: Path) -> None:
    data = save(FLEET.by_time(2_000), tmp_path / "rows.arrow")
    rewritten = save([FLEET.rewritten()], tmp_path / "rewritten.arrow")
    asked = Asked.of(FLEET)
    for name in ENGINES:
        store(name, tmp_path / name, data)
    stores = [InMemory(FLEET), *(of_name(name)(Folder(tmp_path / name)) for name in ENGINES)]
    for question in QUESTIONS:
        assert compare(stores, question, asked) == []
    before = stores[0].mean_by_series(asked)
    for each in stores:
        each.close()
    ours, theirs = (rewrite(name, tmp_path / name, rewritten, asked)[2] for name in ENGINES)
    assert differs(ours, theirs, []) is None
    assert differs(ours, before, []) is not None


def test_figures_become_tables_budgets_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOMENT", 0.0)
    results = Results({"series": 20, "rows": 500, "threads": 4, "scale": 0.005, "engines": [*ENGINES]})
    results.shape |= {"wide_series": 500, "wide_rows": 10}
    for name, values in limits.measure(tmp_path / "limits", FLEET, WIDE).items():
        results.note(f"limits.{name}", MACHINE, values)
    data = save(FLEET.by_time(2_000), tmp_path / "rows.arrow")
    found = ingest.ingest(Measurefs.name, tmp_path / "store", data, ingest.WORKLOADS["each"])
    assert found.rows == FLEET.total
    assert found.compacted is not None and 0 < found.compacted <= found.written
    results.note("ingest.each", Measurefs.name, 2.0)
    results.note("ingest.each", "SQLite", [0.25, 0.5, 1.0])
    results.note("appends.p50", Measurefs.name, 1.0)
    results.note("appends.p50", MACHINE, 0.5)
    add_bounds(results)
    (row,) = report.rows(results, "ingest")
    assert row.ahead == pytest.approx(4.0)
    assert row.best == Measurefs.name
    assert row.share is not None
    assert [verdict.met for verdict in verdicts(results) if verdict.met is not None] == [True]
    results.save(tmp_path / "results.json")
    again = Results.load(tmp_path / "results.json")
    assert again.figures == results.figures
    console = Console(width=200)
    with console.capture() as shown:
        console.print(report.everything(again))
    assert "each batch durable" in shown.get()
    assert "| each batch durable | M rows/s | **2.00** | 0.500 (0.300 to 0.900) |" in report.markdown(again)


def test_a_job_that_fails_in_its_process_says_why() -> None:
    with pytest.raises(FailedError, match="no-such-engine"):
        elsewhere(of_name, "no-such-engine")


def test_the_exponent_of_what_grows_with_the_square_is_two() -> None:
    assert exponent([1, 4, 16], [3, 48, 768]) == pytest.approx(2)
    assert exponent([1, 4, 16], [5, 5, 5]) == pytest.approx(0)
