"""Conditions as they are typed: each finds exactly the rows that the same condition in Python finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import measurefs
from tests.cli.conftest import Run, figures

ROWS = {
    "time": list(range(8)),
    "host": ["a", "b", "web-1", "web-2", "web=3", "x", "y", "z"],
    "zone": ["eu", None, "us", "eu", "us", None, "", "a b"],
    "labels": [["p"], ["p", "q"], [], None, ["q"], ["r"], [None], ["a=b"]],
    "ports": [[1], [2, 1], None, [3], [], [1], [], []],
    "usage": [0.5, 1.0, None, float("nan"), -2.5, 0.75, 1e9, 0.0],
    "count": [1, 2, 3, None, 5, 6, 7, 8],
    "up": [True, False, None, True, True, False, True, True],
    "a=b": ["1", "2", None, "3", "1", "2", "3", "=4"],
    "raw": [b"ab", b"b", None, b"a", b"", b"c", b"ab", b"z"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("where") / "store")
    with measurefs.open(url) as db:
        db.create_measure(
            "m",
            entity=["host"],
            tags={"zone": "string", "labels": "list<string>", "ports": "list<int64>"},
            fields={"usage": "float64", "count": "int64", "up": "bool", "a=b": "string", "raw": "binary"},
        ).write(ROWS)
    return url


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        (["usage>0.5"], {"usage": {">": 0.5}}),
        (["usage>=0.5", "usage<1"], {"usage": {">=": 0.5, "<": 1}}),
        (["usage <= 0.5"], {"usage": {"<=": 0.5}}),
        (["usage!=0.5"], {"usage": {"!=": 0.5}}),
        (["usage=nan"], {"usage": float("nan")}),
        (["count!=1", "count!=2"], {"count": {"not_in": [1, 2]}}),
        (["count=1", "count=7", "count<5"], {"count": {"in": [1, 7], "<": 5}}),
        (["count==6"], {"count": 6}),
        (["up!=true"], {"up": {"!=": True}}),
        (["host~^web.[12]$"], {"host": re.compile("^web.[12]$")}),
        (["host^=web"], {"host": {"prefix": "web"}}),
        (["host=web=3"], {"host": "web=3"}),
        (["host=web-1", "host=a", "host!=a"], {"host": {"in": ["web-1", "a"], "!=": "a"}}),
        (["zone is null"], {"zone": None}),
        (["zone IS NOT NULL"], {"zone": {"null": False}}),
        (["zone is null", "zone=eu"], {"zone": ["eu", None]}),
        (["zone = a b"], {"zone": "a b"}),
        (["zone="], {"zone": ""}),
        (["labels=p"], {"labels": "p"}),
        (["labels=p", "labels=r"], {"labels": ["p", "r"]}),
        (["labels=a=b"], {"labels": "a=b"}),
        (["labels is null"], {"labels": None}),
        (["labels is not null", "labels=q"], {"labels": {"contains": ["q"], "null": False}}),
        (["ports=1"], {"ports": 1}),
        (["a=b=1"], {"a=b": "1"}),
        (["a=b==4"], {"a=b": "4"}),
        (["a=b is null"], {"a=b": None}),
        (["raw^=a"], {"raw": {"prefix": b"a"}}),
        (["raw=ab"], {"raw": b"ab"}),
    ],
)
def test_conditions(run: Run, store: str, typed: list[str], where: dict[str, object]) -> None:
    words = [word for text in typed for word in ("--where", text)]
    got = figures(run("query", store, "m", *words, "--json", "--columns", "host"))
    with measurefs.open(store, read_only=True) as db:
        wanted = db.measure("m").query(where=where, columns=["host"]).to_arrow().to_pylist()
    assert got == wanted
    assert wanted or typed == ["a=b==4"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["usage"], "COL=VALUE"),
        (["=5"], "COL=VALUE"),
        (["usag>5"], "did you mean 'usage'"),
        (["usage>fast"], "float64"),
        (["count=1.5"], "int64"),
        (["time>5"], "--start"),
        (["labels!=p"], "lists"),
        (["ports=x"], "list<int64>"),
        (["count~1"], "text"),
        (["usage^=1"], "text"),
        (["host~("], "host"),
        (["host~a", "host~b"], "one regular expression"),
        (["usage>1", "usage>2"], "another condition"),
        (["host is"], "COL=VALUE"),
    ],
)
def test_what_is_no_condition(run: Run, store: str, typed: list[str], told: str) -> None:
    words = [word for text in typed for word in ("--where", text)]
    assert told in run("query", store, "m", *words, status=2).stderr


def test_help_names_every_operator(run: Run) -> None:
    text = " ".join(run("query", "--help").stdout.split())
    assert all(operator in text for operator in ("!=", "<=", ">=", "~", "^=", "is null", "is not null"))


def test_where_and_nothing_found(run: Run, store: str, tmp_path: Path) -> None:
    run("query", store, "m", "--where", "host=nobody", "-o", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().count("\n") == 1
