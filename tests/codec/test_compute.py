"""Arrow's functions by name: what `pyarrow.compute` gives, without it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from measurefs.codec import compute

NUMBERS = pa.array([3, None, 1, 2])
TEXTS = pa.array(["ab", None, "b", "ca"])


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("is_valid", [NUMBERS], {}),
        ("less", [NUMBERS, pa.scalar(2)], {}),
        ("and_", [pa.array([True, None]), pa.array([True, False])], {}),
        ("min_max", [NUMBERS], {}),
        ("coalesce", [NUMBERS, pa.array([0, 7, 0, 0])], {}),
        ("if_else", [pa.array([True, False, True, None]), None, NUMBERS], {}),
        ("is_in", [NUMBERS], {"value_set": pa.array([1, 3])}),
        ("starts_with", [TEXTS, "a"], {}),
        ("match_substring_regex", [TEXTS], {"pattern": "b$", "ignore_case": True}),
        ("binary_join_element_wise", [TEXTS, TEXTS, pa.scalar("-")], {}),
    ],
)
def test_answers_are_those_of_arrow(name, arguments, named):
    found = getattr(compute, name)(*arguments, **named)
    assert found == getattr(pc, name)(*arguments, **named)


def test_a_function_is_looked_up_once():
    assert compute.utf8_upper is compute.utf8_upper


def test_what_arrow_lacks_is_an_attribute_that_is_missing():
    with pytest.raises(AttributeError, match="no_such"):
        compute.no_such(NUMBERS)
