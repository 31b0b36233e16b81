"""``measurefs doctor``."""

from __future__ import annotations

from collections.abc import Callable

import measurefs
from tests.cli.conftest import Run, figures
from tests.conftest import Store
from tests.s3_proxy import S3Proxy, refuse

Typed = Callable[[Store], list[str]]


def test_a_place_that_is_fit(run: Run, local_store: Store) -> None:
    shown = run("doctor", local_store.url, "--samples", 2).stdout
    assert "Fit for one writer and many readers." in shown
    assert "exclusive write" in shown
    assert "write 4 KiB" in shown


def test_for_machines(run: Run, local_store: Store) -> None:
    found = figures(run("doctor", local_store.url, "--json"))
    assert (found["fit"], found["read_only"], found["left_over"]) == (True, False, "")
    assert {check["outcome"] for check in found["checks"]} == {"passed", "skipped"}
    assert set(found["checks"][0]) == {
        "name",
        "proves",
        "outcome",
        "details",
        "advice",
        "means",
        "permission",
    }
    assert found["latency"]["calls"]["write"]["p95"] > 0
    assert found["latency"]["durable_write"] > 0


def test_one_that_is_not(run: Run, options: Typed, s3_proxy: S3Proxy, s3_url: str) -> None:
    s3_proxy.on("PUT", refuse(403, "AccessDenied"), times=float("inf"))
    result = run("doctor", s3_url, *options(Store(s3_url, s3_proxy.options)), status=1)
    assert "unfit: nothing can be stored (s3:PutObject)" in result.stderr
    assert "write: cannot write '_doctor/" in result.stdout
    assert "allow s3:PutObject" in result.stdout
    assert "Fit" not in result.stdout


def test_reading_only(run: Run, options: Typed, s3_store: Store) -> None:
    given = (s3_store.url, "--read-only", "--samples", 2, *options(s3_store))
    assert "there is no measurefs.json" in run("doctor", *given, status=1).stdout
    with measurefs.open(s3_store.url, storage_options=s3_store.options):
        pass
    shown = run("doctor", *given).stdout
    assert "Fit to read." in shown
    assert "By that opening and a first answer" in shown


def test_help_has_an_example(run: Run) -> None:
    assert "  measurefs doctor s3://bucket/metrics" in run("doctor", "--help").stdout
