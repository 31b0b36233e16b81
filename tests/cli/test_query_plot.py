"""Charts, in the terminal and as pictures: what they show, what they leave out and say so, and that they are whole."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

import measurefs
from measurefs.cli._axes import numbers, scale, span, time_ticks, unit_of
from measurefs.cli._drawing import Drawing, Panel
from measurefs.cli._linechart import LineChart
from measurefs.cli._lines import Line, Lines, collect
from tests.cli.conftest import Run

SECOND = 10**9
MINUTE = 60 * SECOND
START = 1_774_612_800 * SECOND  # 2026-03-27T12:00:00Z


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twelve hosts over six hours, each busier than the one before; one of them has no name that is easy to draw."""
    url = str(tmp_path_factory.mktemp("plot") / "store")
    times = START + np.arange(360) * MINUTE
    with measurefs.open(url) as db:
        measure = db.create_measure(
            "cpu",
            entity=["host"],
            tags={"region": "string"},
            fields={"usage_percent": "float64", "hits": "int64", "up": "bool", "note": "string"},
        )
        for number, host in enumerate([*(f"web-{each:02}" for each in range(10)), "_$x_$y", "数据库"]):
            measure.write(
                {
                    "time": times,
                    "host": [host] * 360,
                    "region": ["eu" if number % 2 else "us"] * 360,
                    "usage_percent": number * 5 + np.sin(np.arange(360) / 50),
                    "hits": np.arange(360) * (number + 1),
                    "up": [True, False] * 180,
                    "note": ["n"] * 360,
                }
            )
    return url


# In the terminal


def test_a_chart_in_the_terminal(run: Run, store: str) -> None:
    words = ("query", store, "cpu", "--where", "host=web-03", "--columns", "usage_percent", "--plot")
    text = run(*words).stdout
    assert text.startswith("cpu: usage_percent\n2026-03-27 12:00 to 17:59 UTC · host = web-03\n")
    assert "16.0% ┤" in text and "13:00" in text and "17:00" in text
    assert re.search("[\u2801-\u28ff]", text)
    assert max(map(len, text.splitlines())) <= 120


def test_the_last_word_behind_plot_is_no_file(run: Run, store: str) -> None:
    text = run("query", store, "cpu", "--columns", "hits", "--plot").stdout
    assert run("query", "--plot", store, "cpu", "--columns", "hits").stdout == text
    assert run("query", store, "--plot", "cpu", "--columns", "hits").stdout == text
    assert run("query", store, "cpu", "--plot", "-", "--columns", "hits").stdout == text


@pytest.mark.parametrize("width", [24, 80, 120])
def test_it_fits_the_terminal(run: Run, store: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = run("query", store, "cpu", "--plot", "--start", "2026-03-27T13:00").stdout
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if "┤" in line]
    assert max(map(len, rows)) == width or width < 80


def test_each_field_has_a_panel_and_each_series_a_symbol(run: Run, store: str) -> None:
    text = run("query", store, "cpu", "--where", "host~^web-0[12]$", "--plot").stdout
    titles = [line.strip() for line in text.splitlines() if line.startswith("     ")]
    assert [title for title in titles if title in ("usage_percent", "hits", "up")] == [
        "usage_percent",
        "hits",
        "up",
    ]
    assert "true" in text and "false" in text
    assert "host: ● web-01   + web-02" in text
    assert "not drawn, for they are no numbers: note" in text
    drawn = [line for line in text.splitlines() if "│" in line or "┤" in line]
    assert any("●" in line for line in drawn) and any("+" in line for line in drawn)


def test_of_many_lines_the_highest_are_shown(run: Run, store: str) -> None:
    text = run("query", store, "cpu", "--columns", "usage_percent", "--plot").stdout
    assert "and 2 more: shown are the 10 of 12 with the highest mean of usage_percent" in text
    assert "web-00" not in text and "web-01" not in text
    assert all(name in text for name in ("web-02", "web-09", "_$x_$y", "数据库"))


def test_aggregates(run: Run, store: str) -> None:
    words = ("--agg", "usage_percent:mean,max,count", "--every", "1h", "--by", "region", "--plot")
    text = run("query", store, "cpu", *words).stdout
    assert text.startswith("cpu: mean, max and count of usage_percent by region, every 1h\n")
    assert "usage_percent, number of values" in text
    assert "● eu · mean   + eu · max    x us · mean   ○ us · max" in text
    rows = run("query", store, "cpu", "--agg", "count", "--every", "1h", "--plot").stdout
    assert rows.startswith("cpu: number of rows, every 1h\n") and "720" not in rows.splitlines()[0]


def test_times_are_those_of_the_time_zone(run: Run, store: str) -> None:
    words = ("query", store, "cpu", "--columns", "hits", "--timezone")
    assert "2026-03-27 13:00 to 18:59 Europe/Berlin" in run(*words, "Europe/Berlin", "--plot").stdout
    assert "2026-03-27 17:30 to 23:29 +05:30" in run(*words, "+05:30", "--plot").stdout
    assert "did you mean" in run(*words, "Europe/Berln", "--plot", status=2).stderr


def test_nothing_to_draw(run: Run, store: str, tmp_path: Path) -> None:
    words = ("query", store, "cpu", "--start", "2027-01-01", "--plot")
    assert "No rows" in run(*words).stdout
    assert "No rows" in run(*words, tmp_path / "x.png", status=1).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plot", "x.jpg"], ".png, .svg, .pdf"),
        (["--plot", "--last"], "--last"),
        (["--plot", "--agg", "mean"], "--every 1h"),
        (["--plot", "--output", "x.csv"], "--output"),
        (["--plot", "--json"], "--json"),
        (["--plot", "--explain"], "--explain"),
        (["--plot", "--columns", "note,region"], "note, region"),
        (["--plot", "--columns", "usage_prcent"], "'usage_percent'"),
        (["--plot", "/no/such/directory/x.png"], "/no/such/directory/x.png"),
    ],
)
def test_what_cannot_be_drawn(run: Run, store: str, words: list[str], told: str) -> None:
    assert told in run("query", store, "cpu", *words, status=2).stderr


def rows_of(lines: Sequence[Line], *, width: int = 40, ascii_only: bool = False) -> list[str]:
    """Draw lines without colours and return the rows of the plot, without the numbers at their left."""
    panel = Panel("", "", False, [(place, 0, line) for place, line in enumerate(lines)])
    names = [f"line {place}" for place in range(len(lines))] if len(lines) > 1 else []
    first, last = min(line.times[0] for line in lines), max(line.times[-1] for line in lines)
    drawing = Drawing("t", "s", "", names, [], "", [panel], "UTC", int(first), int(last), [])
    console = Console(width=width, force_terminal=False, no_color=True)
    options = console.options.update()
    if ascii_only:
        options.encoding = "ascii"
    text = "\n".join(
        "".join(each.text for each in row) for row in console.render_lines(LineChart(drawing), options)
    )
    assert not ascii_only or text.isascii()
    return [
        re.split("[┤│|]", line, maxsplit=1)[1]
        for line in text.splitlines()
        if re.search(r"^ *\S* [┤│|]", line)
    ]


def line(values: Sequence[float], gaps: Sequence[int] = ()) -> Line:
    times = START + np.arange(len(values)) * MINUTE
    return Line(times, np.array(values, float), np.isin(np.arange(len(values)), gaps))


def test_where_a_line_goes() -> None:
    rows = rows_of([line([0, 100])])
    places = [[place for place, dot in enumerate(row) if "\u2800" < dot <= "\u28ff"] for row in rows]
    assert all(places) and places[0][-1] == 34 and places[-1][0] == 0
    assert [place[0] for place in places] == sorted((place[0] for place in places), reverse=True)


def test_a_peak_of_one_point_among_many_shows() -> None:
    values = np.zeros(100_000)
    values[77_777] = 100
    assert any("\u2800" < dot <= "\u28ff" for dot in rows_of([line(values)])[0])


def test_nothing_is_drawn_across_a_gap() -> None:
    values = [0.0, 0.0, 0.0, 0.0, 100.0]
    joined, parted = (rows_of([line(values, gaps)])[-1] for gaps in ((), [3]))
    assert len(joined.rstrip()) == len(parted.rstrip()) > 20
    assert " " not in joined.rstrip() and " " * 8 in parted.rstrip()


def test_without_unicode() -> None:
    rows = rows_of([line([0, 1]), line([1, 0])], ascii_only=True)
    assert any("*" in row for row in rows) and any("+" in row for row in rows)


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1e300, 1e300], [1e-300, 2e-300], [1e18, 1e18 + 256]])
def test_charts_of_little(values: list[float]) -> None:
    assert rows_of([line(values)])


# Lines


def test_thinning_keeps_every_extreme() -> None:
    random = np.random.default_rng(7)
    lines = Lines(most=5_000)
    times, values = START + np.arange(200_000) * SECOND, random.normal(size=200_000)
    which = random.integers(0, 3, 200_000)
    for begin in range(0, 200_000, 4_000):
        piece = slice(begin, begin + 4_000)
        lines.add(which[piece], times[piece], values[piece])
    assert lines.thinned
    for number in range(3):
        mine, kept = which == number, lines.line(number, regular=False)
        assert len(kept.times) < 5_000
        assert (np.diff(kept.times) > 0).all()
        assert kept.values.max() == values[mine].max() and kept.values.min() == values[mine].min()
        assert not kept.gaps.any()
        assert lines.means(3)[number] == pytest.approx(values[mine].mean())
        at = dict(zip(times[mine].tolist(), values[mine].tolist(), strict=True))
        assert all(at[time] == value for time, value in zip(kept.times.tolist(), kept.values, strict=True))


def test_gaps() -> None:
    lines = Lines()
    minutes = np.array([0, 1, 2, 3, 20, 21, 22, 24, 25])
    lines.add(np.zeros(9, np.int64), START + minutes * MINUTE, np.arange(9.0))
    assert np.flatnonzero(lines.line(0, regular=True).gaps).tolist() == [4, 7]
    many = np.append(np.arange(100), [200, 201])
    lines.add(np.ones(102, np.int64), START + many * MINUTE, np.arange(102.0))
    assert np.flatnonzero(lines.line(1, regular=False).gaps).tolist() == [100]


def test_lines_of_batches() -> None:
    def batch(
        hosts: list[str | None], ports: list[int], values: list[float | None], first: int
    ) -> pa.RecordBatch:
        times = pa.array([START + (first + number) * SECOND for number in range(len(hosts))])
        return pa.record_batch(
            {
                "time": times.cast(pa.timestamp("ns", "UTC")),
                "host": hosts,
                "port": ports,
                "v": pa.array(values, pa.float64()),
            }
        )

    batches = [
        batch(["a", "b", "a"], [1, 1, 2], [1.0, 2.0, 3.0], 0),
        batch([], [], [], 3),
        batch(["a", None, "a"], [2, 1, 1], [4.0, 5.0, None], 3),
    ]
    found = collect(batches, ["host", "port"], ["v"])
    assert found.names == [("a", 1), ("b", 1), ("a", 2), (None, 1)]
    values = [found.columns["v"].line(number, regular=False).values.tolist() for number in range(4)]
    assert values == [[1.0], [2.0], [3.0, 4.0], [5.0]]


# Axes


@pytest.mark.parametrize("seed", range(3))
def test_ticks_are_round_and_hold_all_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(300):
        low, high = np.sort(random.normal(size=2) * 10.0 ** random.integers(-12, 200))
        most = int(random.integers(3, 8))
        ticks = scale(float(low), float(high), most)
        told = f"seed {seed}: scale({low!r}, {high!r}, {most}) gives {ticks}"
        step = ticks[1] - ticks[0]
        assert 2 <= len(ticks) <= most, told
        assert ticks[0] <= low + step * 1e-6 and ticks[-1] >= high - step * 1e-6, told
        assert len(set(numbers(ticks))) == len(ticks), told


def test_numbers_of_ticks() -> None:
    assert numbers([0.0, 0.5, 1.0]) == ["0", "0.5", "1.0"]
    assert numbers([0.0, 5000.0]) == ["0", "5,000"]
    assert numbers([0.0, 5e3, 1e4]) == ["0", "5k", "10k"]
    assert numbers([0.0, 5e8, 1e9], "B") == ["0 B", "0.5 GB", "1.0 GB"]
    assert numbers([0.0, 50.0], "%") == ["0%", "50%"]
    assert numbers([10.0, 20.0], "ms") == ["10 ms", "20 ms"]
    assert [unit_of(name) for name in ("latency_ms", "memory.bytes", "CPU percent", "value")] == [
        "ms",
        "B",
        "%",
        "",
    ]


def test_ticks_of_time() -> None:
    hour, day = 60 * MINUTE, 24 * 60 * MINUTE
    berlin = time_ticks(START, START + 3 * day, "Europe/Berlin", 8)
    assert [name for _, name in berlin] == ["28 Mar", "12:00", "29 Mar", "12:00", "30 Mar", "12:00"]
    assert np.diff([time for time, _ in berlin]).tolist() == [
        12 * hour,
        12 * hour,
        11 * hour,
        12 * hour,
        12 * hour,
    ]
    for length in (1, 1000, SECOND // 3, 7 * SECOND, hour, 40 * day, 700 * day, 80_000 * day):
        ticks = time_ticks(START, START + length, "UTC", 8)
        assert 1 <= len(ticks) <= 8, length
        assert all(START <= time <= START + length for time, _ in ticks)
    assert time_ticks(START, START + 700 * day, "UTC", 8)[0][1] in ("Apr", "Jul")
    assert span(START, START + 2 * day, "UTC") == "2026-03-27 12:00 to 2026-03-29 12:00 UTC"
    assert span(START, START + 12 * SECOND, "UTC") == "2026-03-27 12:00:00 to 12:00:12 UTC"


# Pictures


def test_a_picture(run: Run, store: str, tmp_path: Path) -> None:
    file = tmp_path / "cpu.png"
    told = run("query", store, "cpu", "--columns", "usage_percent", "--plot", file).stderr
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")
    width, height = (int.from_bytes(data[begin : begin + 4], "big") for begin in (16, 20))
    assert f"wrote {file} ({width} x {height} pixels)" in told
    assert width == 1600 and 600 < height < 1200
    assert [path.name for path in tmp_path.iterdir()] == ["cpu.png"]


def test_what_stands_in_a_picture(run: Run, store: str, tmp_path: Path) -> None:
    file = tmp_path / "cpu.svg"
    run("query", store, "cpu", "--where", "hits>=0", "--plot", file)
    texts = [
        re.sub("<[^>]*>", "", text)
        for text in re.findall(r"<text[^>]*>(.*?)</text>", file.read_text(), re.DOTALL)
    ]
    for wanted in (
        *("cpu: usage_percent, hits and up", "2026-03-27 12:00 to 17:59 UTC · hits&gt;=0"),
        *("usage_percent", "hits", "up", "60%", "true", "host", "web-09", "_$x_$y", "数据库"),
        *("and 2 more: shown are the 10 of 12 with the highest mean of usage_percent", "13:00"),
        "not drawn, for they are no numbers: note",
    ):
        assert wanted in texts, texts
    assert "web-00" not in texts


def test_a_picture_of_aggregates(run: Run, store: str, tmp_path: Path) -> None:
    words = ("--agg", "mean,p99", "--every", "15m", "--by", "region", "--fill", "null")
    run("query", store, "cpu", *words, "--plot", tmp_path / "cpu.pdf")
    assert (tmp_path / "cpu.pdf").read_bytes().startswith(b"%PDF")


def test_without_matplotlib(run: Run, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = run("query", store, "cpu", "--plot", tmp_path / "x.png", status=2).stderr
    assert "pip install 'measurefs[plot]'" in told
    assert not list(tmp_path.iterdir())
