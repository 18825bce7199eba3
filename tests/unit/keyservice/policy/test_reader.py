"""What is read from a policy's text, and what is said about a text that is none."""

import time

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.model import CodeVolume, Unchecked
from cloister.keyservice.policy.node import MAX_PROBLEMS
from cloister.keyservice.policy.reader import MAX_POLICY_BYTES, diagnose, parse_policy
from cloister.testing.policies import sample_text


def problems_of(text: str) -> list[str]:
    return [str(problem) for problem in diagnose(text.encode(), source="p.yaml").problems]


def changed(old: str, new: str) -> str:
    text = sample_text()
    assert old in text
    return text.replace(old, new, 1)


def test_a_good_text_becomes_a_policy() -> None:
    """Every field arrives with its type."""
    policy = parse_policy(sample_text().encode(), source="p.yaml")
    train = policy.workloads["train"]
    assert train.code == CodeVolume(volume="code")
    assert train.environment == {"KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1"}
    assert train.volumes["/model"].access == "write"
    assert policy.volumes["code"].location == "./code"
    assert policy.roots_of_trust.sim is not None
    assert policy.roots_of_trust.sim.minimum_svn == 2


def test_a_check_may_be_left_out_with_a_reason() -> None:
    """The reason is kept."""
    text = changed("minimum_svn: 2", "minimum_svn: {unchecked: all are new}")
    root = parse_policy(text.encode(), source="p.yaml").roots_of_trust.sim
    assert root is not None
    assert root.minimum_svn == Unchecked(unchecked="all are new")


@pytest.mark.spec("POL-1")
def test_a_text_of_ten_megabytes_is_refused_unread() -> None:
    """Size decides before any parsing, however hostile the text."""
    data = b"[" * 10_000_000
    started = time.process_time()
    with pytest.raises(MalformedError) as caught:
        parse_policy(data, source="p.yaml")
    assert caught.value.code == "policy.too-large"
    assert time.process_time() - started < 0.5
    assert "10000000" in caught.value.public


@pytest.mark.spec("POL-1")
def test_the_largest_text_is_read() -> None:
    """The limit itself is allowed, one byte more is not."""
    text = sample_text().encode()
    room = MAX_POLICY_BYTES - len(text)
    parse_policy(text + b"#" * (room - 1) + b"\n", source="p.yaml")
    with pytest.raises(MalformedError) as caught:
        parse_policy(text + b"#" * room + b"\n", source="p.yaml")
    assert caught.value.code == "policy.too-large"


@pytest.mark.spec("POL-9")
def test_all_problems_are_reported_with_their_places() -> None:
    """One pass finds mistakes in four places, in the order of the text."""
    text = (
        sample_text()
        .replace("debug: refused", "debug: maybe", 1)
        .replace("runtime:", "runtme:", 1)
        .replace('"1"', "1", 1)
        .replace("access: write", "access: wriet", 1)
    )
    found = diagnose(text.encode(), source="p.yaml")
    assert found.policy is None
    lines = text.splitlines()
    places = [(p.line, p.column) for p in found.problems]
    assert places == sorted(places)
    assert [p.path for p in found.problems] == [
        "roots_of_trust.sim.debug",
        "workloads.train",
        "workloads.train.runtme",
        "workloads.train.environment.OMP_NUM_THREADS",
        "workloads.train.volumes[/model].access",
    ]
    by_path = {p.path: p for p in found.problems}
    typo = by_path["workloads.train.runtme"]
    assert lines[typo.line - 1][typo.column - 1 :].startswith("runtme:")
    assert typo.hint == "did you mean 'runtime'?"
    assert by_path["workloads.train.volumes[/model].access"].hint == "did you mean 'write'?"
    assert '"1"' in by_path["workloads.train.environment.OMP_NUM_THREADS"].hint


def test_the_error_carries_every_problem() -> None:
    """The sentence has the first, with a count; the detail has them all; the offset is a line."""
    text = changed("debug: refused", "debug: maybe").replace("logs: drop", "logs: perhaps")
    with pytest.raises(MalformedError) as caught:
        parse_policy(text.encode(), source="p.yaml")
    error = caught.value
    assert error.code == "policy.invalid"
    assert error.public.startswith("p.yaml: line ")
    assert "(and 2 more problems)" in error.public
    assert error.detail is not None
    assert len(error.detail.splitlines()) == 3
    assert error.offset == text[: text.index("debug: maybe")].count("\n") + 1


@pytest.mark.spec("POL-9")
def test_problems_are_bounded() -> None:
    """A text of nothing but mistakes yields a list that a person can read."""
    text = "".join(f"key{i}: !!x [&a 1]\n" for i in range(2000))
    found = diagnose(text.encode(), source="p.yaml")
    assert len(found.problems) == MAX_PROBLEMS


@pytest.mark.spec("POL-4")
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("namespace: clinic", "namespace: &x clinic", "anchors"),
        ("namespace: clinic", "namespace: *x", "aliases"),
        ("namespace: clinic", "namespace: !!str clinic", "tags"),
        ("namespace: clinic", "namespace: !include /etc/passwd", "tags"),
        ("namespace: clinic", "namespace: clinic\nnamespace: other", "stood already in line"),
        ("namespace: clinic", "? [a]\n: clinic", "a key is a text"),
        ("namespace: clinic", "7: clinic", "a key is a text"),
        ("namespace: clinic", "<<: {a: b}", "YAML 1.1 instruction"),
        ("namespace: clinic", "namespace: [clinic", "not YAML"),
        ("namespace: clinic", "namespace: clinic: no", "not YAML"),
        ("namespace: clinic", 'namespace: "\\ud800"', ""),
        ("namespace: clinic", "namespace: cli\x07nic", "U+0007"),
        ("namespace: clinic", "namespace: \ufeffclinic", "U+FEFF"),
    ],
)
def test_what_cannot_be_read_is_malformed(old: str, new: str, says: str) -> None:
    """Each construct has its own sentence, and the code `policy.malformed`."""
    data = changed(old, new).encode("utf-8", "surrogatepass")
    found = diagnose(data, source="p.yaml")
    assert any(says in problem.message for problem in found.problems), found.problems
    if says:
        with pytest.raises(MalformedError) as caught:
            found.require_policy(source="p.yaml")
        assert caught.value.code == "policy.malformed"


@pytest.mark.spec("POL-6")
@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_stops_reading(opening: str) -> None:
    """Nesting that would exhaust a stack is refused at the thirteenth level."""
    data = (opening * 50_000).encode()
    started = time.monotonic()
    with pytest.raises(MalformedError) as caught:
        parse_policy(data, source="p.yaml")
    assert caught.value.code == "policy.malformed"
    assert time.monotonic() - started < 5


@pytest.mark.spec("POL-6")
def test_too_many_values_stop_reading() -> None:
    """More values than any policy needs are not all read."""
    found = diagnose(("x: [" + "a," * 60_000 + "a]").encode(), source="p.yaml")
    assert "more than 20000 values" in found.problems[0].message


def test_an_alias_bomb_is_refused_at_once() -> None:
    """Billions of values cannot be spelled by aliases."""
    bomb = 'a: &a ["x","x"]\n' + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    found = diagnose(bomb.encode(), source="p.yaml")
    assert any("aliases" in p.message for p in found.problems)


@pytest.mark.spec("POL-7", "POL-8")
@pytest.mark.parametrize(
    "word",
    [
        "yes", "No", "ON", "off", "y", "N", "true", "False", "null", "~", "1.5", "1e3", ".5",
        ".inf",
        "-.INF", ".nan", "0x1F", "0o17", "0b101", "017", "1_000", "1:30", "12:30:45", "2001-12-14",
        "2001-12-14t21:59:43.10-05:00", "+5", "=",
    ],
)  # fmt: skip
def test_words_that_yaml_readers_read_differently_must_be_quoted(word: str) -> None:
    """A plain word with two meanings is refused with advice to quote it; quoted it is a text."""
    plain = diagnose(changed('"1"', word).encode(), source="p.yaml")
    assert plain.policy is None
    assert "quotes" in plain.problems[0].hint or "write the value" in plain.problems[0].hint
    quoted = parse_policy(changed('"1"', f"'{word}'").encode(), source="p.yaml")
    assert quoted.workloads["train"].environment["OMP_NUM_THREADS"] == word


@pytest.mark.spec("POL-15")
def test_numbers_are_not_turned_into_texts() -> None:
    """An environment variable that looks like a number is refused with the advice to quote it."""
    assert problems_of(changed('"1"', "1"))[0].endswith('(put it in quotes: "1")')


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "just text", "- a\n", "7"])
def test_a_text_without_a_map_is_no_policy(text: str) -> None:
    """Nothing, a scalar and a list are refused."""
    assert diagnose(text.encode(), source="p.yaml").policy is None


def test_a_text_that_is_not_utf8_names_the_place() -> None:
    """The line and column of the first bad byte are reported."""
    (problem,) = diagnose(b"policy: x\nname: \xff\n", source="p.yaml").problems
    assert (problem.line, problem.column, problem.malformed) == (2, 7, True)
