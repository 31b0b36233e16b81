"""A share of the faults of single requests; ``python -m tests.crash.requests`` runs all of them."""

from __future__ import annotations

import random

import pytest

from tests.crash.requests import FAULTS, go_wrong, healthy
from tests.s3_proxy import S3Proxy
from tests.s3_server import S3Server

SHARE = 5


@pytest.fixture(scope="module")
def requests(s3_server: S3Server) -> int:
    with S3Proxy(s3_server) as proxy:
        return healthy(proxy, s3_server)


@pytest.mark.parametrize("number", range(SHARE))
def test_nothing_acknowledged_is_lost(
    s3_server: S3Server, s3_proxy: S3Proxy, requests: int, number: int
) -> None:
    at = random.Random(number).randint(1, requests)
    go_wrong(s3_proxy, s3_server, at, list(FAULTS)[number % len(FAULTS)])


def test_a_store_that_is_down_is_told(s3_server: S3Server, s3_proxy: S3Proxy, requests: int) -> None:
    assert go_wrong(s3_proxy, s3_server, requests // 2, "down") > 0
