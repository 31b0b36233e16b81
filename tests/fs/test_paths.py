"""Paths: checking, joining, splitting, escaping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurefs.fs import InvalidPathError, basename, check_path, escape, join, parent, unescape

# What a user may name something: any text that has an encoding at all.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


@pytest.mark.parametrize("path", ["a", "a/b", "a.b/.c", "...", "a b/ü", "~", "C:", "a:b", "-", "a" * 300])
def test_plain_paths_pass(path):
    assert check_path(path, "read") is path
    assert check_path(path, "read_dir", root=True) is path


@pytest.mark.parametrize(
    "path",
    ["/", "/a", "a/", "//", "a//b", ".", "..", "a/.", "./a", "a/../b", "../a", "\0", "a\0b", "\\", "a\\b"],
)
@pytest.mark.parametrize("root", [False, True])
def test_other_paths_are_refused(path, root):
    with pytest.raises(InvalidPathError, match="cannot read_dir") as caught:
        check_path(path, "read_dir", root=root)
    assert (caught.value.path, caught.value.operation) == (path, "read_dir")
    assert isinstance(caught.value, ValueError)


def test_the_root_is_a_path_where_a_directory_is_meant():
    assert check_path("", "read_dir", root=True) == ""
    with pytest.raises(InvalidPathError):
        check_path("", "read")


def test_join():
    assert join("a", "b/c", "d") == "a/b/c/d"
    assert join("", "a", "", "b", "") == "a/b"
    assert join() == join("") == ""


def test_parent_and_basename():
    assert [parent(path) for path in ("a/b/c", "a", "")] == ["a/b", "", ""]
    assert [basename(path) for path in ("a/b/c", "a", "")] == ["c", "a", ""]


@given(st.lists(NAMES.map(escape), min_size=1, max_size=5))
def test_a_path_is_its_parent_and_its_name(components):
    path = join(*components)
    assert check_path(path, "read") == path
    assert join(parent(path), basename(path)) == path


@given(NAMES)
def test_any_name_becomes_one_plain_component(name):
    component = escape(name)
    assert check_path(component, "read") == component
    assert "/" not in component
    assert not component.startswith(".")
    assert component.isascii()
    assert unescape(component) == name


@given(NAMES, NAMES)
def test_different_names_become_different_components(one, two):
    assert (escape(one) == escape(two)) == (one == two)


def test_ordinary_names_stay_readable():
    assert escape("cpu") == "cpu"
    assert escape("cpu usage, idle=1") == "cpu usage, idle=1"
    assert escape("a/b") == "a%2Fb"
    assert escape("..") == "%2E%2E"
    assert escape("100%") == "100%25"


@pytest.mark.parametrize("name", ["CON", "nul", "com1", "LPT9", "aux.log", "cpu.", "cpu ", "Con."])
def test_names_that_windows_would_take_for_something_else(name):
    component = escape(name)
    assert unescape(component) == name
    assert component.startswith("%") or component[-3] == "%"
    assert escape(f"{name}x"[::-1]) == f"{name}x"[::-1]
