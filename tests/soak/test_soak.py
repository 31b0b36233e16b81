"""A short share of the soak; ``python -m tests.soak --minutes 60`` is the whole of it."""

from __future__ import annotations

from tests.s3_server import S3Server
from tests.soak.run import Settings, run


def test_readers_are_right_whatever_the_network_does_and_whoever_dies(s3_server: S3Server) -> None:
    least = {"kills": 1, "queries": 30, "batches durable on return": 5}
    outcome = run(Settings(seconds=3, seed=1, kill_every=2, least=least), s3_server)
    assert outcome.counts["kills"] == outcome.counts["take-overs"] - 1 >= 1
    assert outcome.injected.total() > 0
    # Four tables of at most 16 parts and a few merged ones, each of them nine files at most.
    assert max(outcome.samples.values("bucket objects")) < 4 * 30 * 9
