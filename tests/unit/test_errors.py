"""The error tree."""

import re
from pathlib import Path

import pytest

from cloister import errors
from cloister.errors import (
    CODES,
    AppraisalError,
    CloisterError,
    ConfigError,
    error_from_wire,
    extra_hint,
    reasons,
)


def test_every_code_belongs_to_an_exported_class() -> None:
    """Each code names a class of the tree, and the class has an exit status of its own family."""
    for code, kind in CODES.items():
        assert issubclass(kind, CloisterError), code
        assert kind.__name__ in errors.__all__
        assert 64 <= kind.exit_status <= 95


def test_an_unregistered_code_is_our_bug() -> None:
    """A class refuses a code that is not its own."""
    with pytest.raises(LookupError):
        ConfigError("x", code="no.such-code")
    with pytest.raises(LookupError):
        ConfigError("x", code="storage.full")


def test_only_one_family_is_retryable() -> None:
    """Retrying is for UnavailableError and below."""
    for kind in set(CODES.values()):
        assert kind.retryable == issubclass(kind, errors.UnavailableError)


def test_errors_from_the_wire_cannot_choose_classes_or_control_characters() -> None:
    """A peer's unknown code becomes a remote protocol error; its text is cleaned and cut."""
    strange = error_from_wire("os.system", "a\x1b[31m" + "b" * 900)
    assert strange.code == "protocol.remote"
    assert "\x1b" not in strange.public
    assert len(strange.public) <= 500
    known = error_from_wire("appraisal.code", "no")
    assert isinstance(known, AppraisalError)
    assert known.as_record()["code"] == "appraisal.code"


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("release.policy-unknown", "cloister policy apply"),
        ("release.predecessor", "as predecessor"),
        ("volume.leased", "stop the other writer"),
    ],
)
def test_errors_from_the_wire_have_our_next_step(code: str, step: str) -> None:
    """What we know of the code; a peer's advice is not among what is read."""
    assert step in str(error_from_wire(code, "no").hint)


def test_what_stands_below_the_sentence_is_for_everybody() -> None:
    """Rule, both values and the next step; never the detail, and nothing where there is none."""
    error = AppraisalError(
        "no",
        code="model.refused",
        rule="a<=1",
        expected="<= 1",
        found="2",
        detail="SECRET",
        hint="cut deeper",
    )
    assert [line.split() for line in reasons(error)] == [
        ["rule:", "a<=1"],
        ["expected:", "<=", "1"],
        ["found:", "2"],
        ["next:", "cut", "deeper"],
    ]
    assert reasons(error_from_wire("appraisal.code", "no")) == []


def test_text_for_people_carries_the_code_and_no_detail() -> None:
    """`str` has sentence and code; the detail stays inside."""
    error = ConfigError("the file is empty", code="config.file", detail="SECRET", hint="write it")
    assert str(error) == "the file is empty [config.file]"
    assert "SECRET" not in str(error.as_record())


@pytest.mark.spec("RL-57")
def test_each_way_a_log_can_fail_has_its_own_status() -> None:
    """A script that checks a log can tell them apart."""
    codes = {
        "log.proof": 76,
        "identity.keyservice": 77,
        "log.truncated": 79,
        "log.forked": 80,
        "log.rolled-back": 81,
        "log.witnesses": 82,
    }
    assert {code: CODES[code].exit_status for code in codes} == codes
    assert issubclass(CODES["log.forked"], errors.TamperedError)


def test_what_is_missing_is_installed_from_our_source() -> None:
    """By the bare name a package index gives what somebody else calls so; nothing says that."""
    assert extra_hint("onnx", "litert").endswith("pip install -c constraints.txt '.[onnx,litert]'")
    root = Path(__file__).parents[2]
    places = [root / "README.md", *root.glob("docs/guide/*.md"), *root.glob("src/**/*.py")]
    bare = re.compile(r"pip install[^`\n]*?['\" ]cloister\b")
    found = [each.name for each in places if bare.search(each.read_text("utf-8"))]
    assert found == ["README.md"], "the README says not to"
