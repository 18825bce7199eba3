"""What is a reference, what is literal, and what is refused."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.templates import Reference, parse_template


@pytest.mark.spec("SEC-20", "SEC-21", "SEC-22")
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ()),
        ("plain ${HOME} $x {secret:a}", ("plain ${HOME} $x {secret:a}",)),
        ("${secret:db}", (Reference("db", None, ""),)),
        ("a${secret:db.hex}b", ("a", Reference("db", None, "hex"), "b")),
        ("${secret:db@12.base64}", (Reference("db", 12, "base64"),)),
        ("${secret:db@1}${secret:x}", (Reference("db", 1, ""), Reference("x", None, ""))),
        ("$${secret:db}", ("${secret:db}",)),
        ("$${", ("${",)),
        ("$$${secret:db}", ("$${secret:db}",)),
        ("a$${b}${secret:db}", ("a${b}", Reference("db", None, ""))),
    ],
)
def test_templates_are_read(text: str, pieces: tuple[object, ...]) -> None:
    """From left to right; two dollars before a brace are one that is literal."""
    assert parse_template(text).pieces == pieces


@pytest.mark.spec("SEC-23")
@pytest.mark.parametrize(
    "text",
    [
        "${secret:db",
        "${secret:",
        "${secret:}",
        "${secret:DB}",
        "${secret:db.}",
        "${secret:db@}",
        "${secret:db@0}",
        "${secret:db@1234567890}",
        "${secret:db@-1}",
        "${secret:db.HEX}",
        "${secret: db}",
        "${secret:${secret:db}}",
        "${secret:" + "a" * 64 + "}",
        "$${ ${secret:db",
    ],
)
def test_what_begins_like_a_reference_and_is_none_is_refused(text: str) -> None:
    """Nothing that looks like a secret is taken for a literal."""
    with pytest.raises(MalformedError) as e:
        parse_template(text)
    assert e.value.code == "policy.invalid"


@pytest.mark.spec("SEC-24")
def test_what_is_put_in_is_not_looked_at_again() -> None:
    """A value that looks like a reference stays what it is."""
    template = parse_template("<${secret:a}>")
    assert template.resolve(lambda _: b"${secret:b}$${") == b"<${secret:b}$${>"


@pytest.mark.parametrize(
    ("text", "resolved", "fits"),
    [
        ("a${secret:x}b", "ab", True),
        ("a${secret:x}b", "axxb", True),
        ("a${secret:x}b", "axx", False),
        ("a${secret:x}b", "xaxb", False),
        ("aa${secret:x}aa", "aaa", False),
        ("${secret:x}-${secret:y}-${secret:z}", "1-2-3", True),
        ("${secret:x}-${secret:y}-${secret:z}", "1-23", False),
        ("--token=${secret:x}", "--other=1", False),
        ("$${x}", "${x}", True),
        ("$${x}", "$${x}", False),
        ("", "", True),
    ],
)
def test_a_resolved_text_is_compared_by_its_literal_parts(
    text: str, resolved: str, *, fits: bool
) -> None:
    """Secrets may be anything, what lies between them may not."""
    assert parse_template(text).admits(resolved) is fits


def test_a_reference_is_shown_as_it_is_written() -> None:
    """In messages."""
    assert str(Reference("db", 2, "hex")) == "${secret:db@2.hex}"
    assert str(Reference("db", None, "")) == "${secret:db}"
