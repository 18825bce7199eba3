"""Namespaces: one spelling, and what lies above."""

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.namespaces import lineage, require_namespace


@pytest.mark.spec("PA-1")
@pytest.mark.parametrize("text", ["/", "a", "a/b/c/d", "a-1/b.c/d_e"])
def test_a_path_of_one_to_four_names_is_a_namespace(text: str) -> None:
    """And so is the root."""
    assert require_namespace(text) == text


@pytest.mark.spec("PA-1")
@pytest.mark.parametrize(
    "text", ["", "//", "/a", "a/", "a//b", "a/b/c/d/e", "A", "..", "a/..", "a/*", "a" * 64, "a\n"]
)
def test_anything_else_is_none(text: str) -> None:
    """Nothing that reads as another one."""
    with pytest.raises(MalformedError) as e:
        require_namespace(text)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("PA-2")
def test_what_lies_above_comes_nearest_first() -> None:
    """The root is the last, and above everything."""
    assert lineage("a/b/c") == ("a/b/c", "a/b", "a", "/")
    assert lineage("/") == ("/",)
