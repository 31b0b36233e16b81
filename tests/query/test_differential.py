"""Random questions about random stores get DuckDB's answers; more of them: ``python -m tests.query.differential``."""

from __future__ import annotations

import pytest

from tests.query.differential import A_STORE, KINDS, ask_about_one_store


def check(seed: int, questions: int) -> None:
    run = ask_about_one_store(seed, questions)
    assert not run.failures, "\n\n".join(run.failures)
    assert sum(run.counts[kind] for kind in KINDS) == questions
    assert run.counts["answers with rows"] > questions // 10, "hardly any question finds something"


@pytest.mark.parametrize("seed", range(1, 7))
def test_questions_have_the_answers_that_duckdb_gives(seed: int) -> None:
    check(seed, A_STORE)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_many_questions_have_the_answers_that_duckdb_gives(seed: int) -> None:
    check(seed, A_STORE)
