"""Hostile bytes: every reader of policies returns a policy or raises MalformedError."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import canonical_bytes, policy_from_canonical
from cloister.keyservice.policy.lint import lint_text
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.networks import networked_policy, networked_text
from cloister.testing.policies import sample_policy, sample_text

TEXT = sample_text().encode()
FORM = canonical_bytes(sample_policy())
NETWORKED = networked_text().encode()
NETWORKED_FORM = canonical_bytes(networked_policy())
CODES = {"policy.malformed", "policy.invalid", "policy.too-large"}
SPICE = st.sampled_from(
    [b"&a ", b"*a", b"!!x ", b"[", b"{", b"]", b"}", b": ", b"- ", b"? ",
     b"|\n", b">\n", b"'", b'"',
     b"%YAML 1.1\n", b"---\n", b"...\n", b"<<: ", b"\t", b"\x00", b"\xff", b"\xc2\x85", b"#", b"~",
     b'"\\x00"', b'"\\ud800"', b'"\\U00110000"', b"0o7", b"1e999", b"\r", b"yes", b"9" * 400]
)  # fmt: skip


def error_of(call: Callable[[], object]) -> MalformedError | None:
    try:
        call()
    except MalformedError as e:
        return e
    return None


def read(data: bytes) -> None:
    error = error_of(lambda: parse_policy(data, source="fuzz"))
    assert error is None or error.code in CODES
    lint_text(data, source="fuzz")


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Noise is refused in one way only."""
    read(data)


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    """So is text."""
    read(text.encode("utf-8", "surrogatepass"))


@given(
    st.sampled_from([TEXT, NETWORKED]),
    st.lists(st.tuples(st.integers(0, len(NETWORKED)), st.integers(0, 12), SPICE), max_size=6),
)
def test_policies_with_spice(text: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    """A good policy with pieces cut out and put in is read or refused."""
    data = text
    for at, cut, spice in edits:
        data = data[:at] + spice + data[at + cut :]
    read(data)


@given(
    st.sampled_from([FORM, NETWORKED_FORM]),
    st.integers(0, len(NETWORKED_FORM) - 1),
    st.integers(0, 255),
    st.integers(0, len(NETWORKED_FORM)),
)
def test_canonical_bytes_with_a_changed_byte(form: bytes, at: int, byte: int, end: int) -> None:
    """Changed or cut canonical bytes are read canonically or refused."""
    for data in (form[:at] + bytes([byte]) + form[at + 1 :], form[:end]):
        error = error_of(lambda: canonical_bytes(policy_from_canonical(data)))  # noqa: B023  # called at once
        if error is None:
            assert canonical_bytes(policy_from_canonical(data)) == data
        else:
            assert error.code in CODES


@pytest.mark.parametrize("end", range(0, len(TEXT), 7))
def test_truncated_texts(end: int) -> None:
    """A text cut anywhere is refused, or was complete."""
    read(TEXT[:end])


@pytest.mark.parametrize("end", range(900, len(NETWORKED), 31))
def test_truncated_texts_with_networks(end: int) -> None:
    """The same for one with connections, egress, shards and a cluster."""
    read(NETWORKED[:end])
