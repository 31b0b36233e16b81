"""A share of all damages, and that a damage that is not found would be; `python -m tests.damage --long` takes all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from measurefs.database.verify import verify
from measurefs.table import Runtime
from tests.damage import campaigns
from tests.damage.damages import Damage
from tests.damage.oracle import DETECTED, FELL_BACK, HARMLESS, WRONG, ask, judge, truth
from tests.damage.stores import Store, kind_of, large, small

KINDS = {
    "snapshot", "compact part", "log", "schema.json", "measurefs.json", "lock", "metadata.json", "meta.bin",
    "primary.bin", "series.bin", "timestamps.bin", "fields.bin", "*.tf", "*.tfm",
}  # fmt: skip


@pytest.mark.parametrize("family", campaigns.FAMILIES)
def test_what_is_damaged_is_found_or_harms_nothing(family: str) -> None:
    (campaign,) = (one for one in campaigns.short() if one.name == family)
    outcome = campaign.run()
    outcome.check()
    assert outcome.total(DETECTED) > 0


@pytest.mark.parametrize("store", [small, large])
def test_the_undamaged_store_is_well(store: Callable[[], Store]) -> None:
    assert verify(store().load(), runtime=Runtime()).damages == []


def test_the_same_questions_have_the_same_answers() -> None:
    *answers, told = ask(small().load())
    assert answers == truth(small())
    assert not told


def test_there_is_a_file_of_every_kind() -> None:
    store = small()
    assert {kind_of(path) for path in store.in_focus} == KINDS
    assert max(map(len, store.files.values())) <= 4096
    assert len(store.snapshots) >= 2


def test_a_damage_survives_being_written_down() -> None:
    for campaign in campaigns.short():
        for damage in campaign.damages[::50]:
            assert Damage.parse(str(damage)) == damage


class TestTheTestsThemselves:
    """They find what they are there to find."""

    def test_rows_that_vanish_without_a_word(self) -> None:
        store = small()
        assert store.beside is not None
        fs = store.load()
        fs.delete_file(store.beside)
        assert judge(store, Damage("flip", store.beside, (0, 0)), fs).name == WRONG

    def test_an_error_that_names_another_file(self) -> None:
        store = small()
        fs = store.load()
        damage = Damage("cut", store.compact, (10,))
        damage.apply(store, fs)
        assert judge(store, damage, fs).name == DETECTED
        other = next(path for path in store.files if path.endswith(".part") and path != store.compact)
        assert judge(store, Damage("cut", other, (10,)), fs).name == WRONG

    def test_the_verdicts(self) -> None:
        lines = {
            f"read small flip {small().snapshots[-1]} 100 1": FELL_BACK,
            f"read small flip {small().beside} 100 1": DETECTED,
            f"read small flip {small().compact} 100 1": DETECTED,
            f"read small flip {small().snapshots[0]} 20 1": HARMLESS,
        }
        assert {line: campaigns.replay(line).name for line in lines} == lines
