"""Properties of templates and epochs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.secret_rules import OpaqueForm, SecretRule, SymmetricForm
from cloister.keyservice.policy.templates import Reference, parse_template
from cloister.keyservice.secret_epochs import plan_epochs
from cloister.keyservice.secret_records import EpochMark
from cloister.testing.policies import sample_policy

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
references = st.builds(
    Reference,
    names,
    st.none() | st.integers(1, 999_999_999),
    st.sampled_from(["", "hex", "base64", "private"]),
)
pieces = st.lists(st.text(max_size=12) | references, max_size=8)


def written(parts: list[str | Reference]) -> str:
    """Write pieces as an author would: `${` escaped, no dollar directly before a reference."""
    out = ""
    for part in parts:
        if isinstance(part, Reference):
            out += ("" if not out.endswith("$") else " ") + str(part)
        else:
            text = part.replace("${", "$${")
            out += ("" if not (out.endswith("$") and text.startswith("{")) else " ") + text
    return out


@given(pieces)
def test_what_is_written_is_read(parts: list[str | Reference]) -> None:
    """Every reference comes back, in order, and every literal stays."""
    read = parse_template(written(parts))
    assert list(read.references) == [part for part in parts if isinstance(part, Reference)]
    assert read.resolve(lambda _: b"").decode().count("${") == sum(
        part.count("${") for part in parts if isinstance(part, str)
    )


@given(pieces, st.binary(max_size=20))
def test_a_resolved_text_is_admitted(parts: list[str | Reference], value: bytes) -> None:
    """Whatever the values are, the template admits what it resolves to."""
    read = parse_template(written(parts))
    resolved = read.resolve(lambda _: value).decode("utf-8", "replace")
    assert read.admits(resolved)
    assert read.references or read.admits(resolved + "x") is False


@given(st.text(max_size=40))
def test_only_marked_texts_change(text: str) -> None:
    """A text with neither mark resolves to itself."""
    plain = text.replace("$", "S")
    assert parse_template(plain).resolve(lambda _: b"!").decode() == plain


rules = st.builds(
    lambda kind, epoch, older: replace(
        SecretRule(symmetric=SymmetricForm(bytes=16))
        if kind
        else SecretRule(opaque=OpaqueForm(max_bytes=9)),
        epoch=epoch,
        readable=tuple(sorted({e for e in older if e < epoch})) or None,
    ),
    st.booleans(),
    st.integers(1, 5),
    st.lists(st.integers(1, 4), max_size=2),
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), rules, max_size=2), max_size=8))
def test_an_epoch_names_one_value_for_ever(updates: list[dict[str, SecretRule]]) -> None:
    """Over any history of updates, accepted and refused, no (name, epoch) is made twice."""
    marks: dict[str, EpochMark] = {}
    held: set[tuple[str, int]] = set()
    made: set[tuple[str, int]] = set()
    for secrets in updates:
        policy: Policy = replace(sample_policy(), secrets=secrets or None)
        try:
            plan = plan_epochs(policy, marks=marks, held=held)
        except MalformedError:
            continue
        fresh = {(name, secrets[name].current) for name in plan.make}
        assert not fresh & made
        made |= fresh
        marks |= plan.marks
        held = (held | fresh) - set(plan.erase)
        assert held <= {(name, epoch) for name, rule in secrets.items() for epoch in rule.epochs}
        for name, rule in secrets.items():
            assert all((name, epoch) in held for epoch in rule.readable or ())
