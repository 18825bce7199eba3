"""Hostile texts: templates, policies with secrets, and lists of secrets are read or refused."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.lint import lint_text
from cloister.keyservice.policy.templates import parse_template
from cloister.keyservice.secret_messages import SecretFact
from cloister.keyservice.state.secret_rows import mark_from_row, secret_from_row
from cloister.testing.policies import sample_text
from cloister.testing.secrets import EVERY_KIND
from cloister.wire import decode

SPICE = st.sampled_from(
    ["${", "$${", "${secret:", "}", "@", ".", "1", "a", "hex", "$", "{", "\n", "é", " ", "secret:",
     "${secret:db}", "${secret:db@1.hex}", "0", "_", "-"]
)  # fmt: skip
TEXT = sample_text().replace('"1"', '"${secret:db}"', 1) + f"\nsecrets:{EVERY_KIND}"


@given(st.lists(SPICE, max_size=30).map("".join) | st.text(max_size=100))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    """In one way only; what is read resolves without an error."""
    try:
        read = parse_template(text)
    except MalformedError:
        return
    read.resolve(lambda _: b"")
    read.admits(text)


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 8), SPICE), max_size=5))
def test_policies_with_secrets_and_spice(edits: list[tuple[int, int, str]]) -> None:
    """A good policy with pieces cut out and put in is read or refused, and linted."""
    text = TEXT
    for at, cut, spice in edits:
        text = text[:at] + spice + text[at + cut :]
    lint_text(text.encode(), source="fuzz")
    with contextlib.suppress(MalformedError):
        parse_policy(text.encode(), source="fuzz")


@given(st.binary(max_size=200))
def test_rows_and_facts_are_read_strictly(data: bytes) -> None:
    """Noise is refused with our errors."""
    for read in (secret_from_row, mark_from_row, _fact):
        with contextlib.suppress(MalformedError):
            read(data)


def _fact(data: bytes) -> object:
    return SecretFact.from_value(decode(data, max_bytes=200))
