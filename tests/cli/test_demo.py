"""The demo: it kills a writer, finds what that had called durable, and shows it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

import measurefs
from measurefs.cli._chart import Chart
from tests.cli.conftest import Run, figures


def test_every_durable_row_is_found(run: Run, tmp_path: Path) -> None:
    report = figures(run("demo", tmp_path / "store", "--seconds", "0.5", "--json"))
    assert report["measures"].keys() == {"demo_cpu", "demo_machine"}
    for measure in report["measures"].values():
        assert measure["found_rows"] == measure["acknowledged_rows"] > 0
    with measurefs.open(str(tmp_path / "store")) as db:  # for writing: the dead writer's lock is free
        assert (
            db.measure("demo_cpu").query().to_arrow().num_rows >= report["measures"]["demo_cpu"]["found_rows"]
        )


def test_twice_on_one_store(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        report = figures(run("demo", tmp_path, "--seconds", "0.5", "--json"))
        assert all(each["found_rows"] == each["acknowledged_rows"] for each in report["measures"].values())


def test_without_a_url_nothing_is_left(run: Run, tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # type: ignore[attr-defined]
    text = run("demo", "--seconds", "0.5").stdout
    assert "all of them are there" in text
    assert "measurefs.open('./metrics')" in text
    assert not list(tmp_path.iterdir())


def test_keep(run: Run, tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # type: ignore[attr-defined]
    text = run("demo", "--seconds", "0.5", "--keep").stdout
    (kept,) = tmp_path.iterdir()
    assert f"measurefs inspect {kept}" in text
    run("inspect", kept / "metrics", "demo_cpu")


def test_memory_is_refused(run: Run) -> None:
    assert "memory://" in run("demo", "memory://x", status=2).stderr


def test_a_writer_that_cannot_write_is_status_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run("demo", tmp_path / "file" / "store", status=1)


def drawn(values: list[float], width: int = 40, **more: object) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(Chart(values, **more))  # type: ignore[arg-type]
    return capture.get().splitlines()


def test_chart() -> None:
    lines = drawn([0.0, 50.0, 100.0], unit="%", left="from", right="to")
    assert len(lines) == 7
    assert lines[0].startswith("100% ┤") and lines[5].lstrip().startswith("0% ┤")
    assert lines[0].rstrip()[-1] in "⠁⠈⠉⠊⠃⠋⠑⠒⠔⠤⠎⠜⡠⢀⣀⠘⠰⠸⢸⡇⠇⠏⠙⠚⠓⠢⠣⠡⠪⠕⠌"
    assert lines[6].split() == ["from", "to"]
    assert all(len(line) <= 40 for line in lines)


def test_chart_of_little() -> None:
    nan = float("nan")
    for values in ([], [1.0], [nan, nan], [0.0, 0.0], [-5.0, 5.0], [1.0, nan, 3.0], [1e300, -1e300]):
        assert len(drawn(values)) == 7


def test_chart_without_unicode(monkeypatch: object) -> None:
    monkeypatch.setattr(Console, "encoding", "ascii")  # type: ignore[attr-defined]
    assert all(line.isascii() for line in drawn([1.0, 2.0, 3.0]))
