"""The words that start a server."""

import pytest

from cloister.errors import ConfigError
from cloister.inference.options import (
    parse_options,
    require_one_source,
    require_usable_limits,
)

PACKAGE = ["--package", "p", "--name", "m"]
CHECKED = ["--secret", "s", "--signer", "k", "--require", "x<=0.35", "--middle", "h:1"]


@pytest.mark.parametrize(
    "words", [["--model", "m.tflite", "--name", "m"], ["--models", "f"], [*PACKAGE, *CHECKED]]
)
def test_one_source_is_taken(words: list[str]) -> None:
    """A file, a catalogue, a package with what it must show."""
    require_one_source(parse_options(words))


@pytest.mark.spec("SRV-47")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "config.missing"),
        (["--name", "m"], "config.missing"),
        (["--model", "m.tflite"], "config.missing"),
        (["--models", "f", "--name", "m"], "config.value"),
        (["--models", "f", "--model", "m", "--name", "m"], "config.value"),
        (["--models", "f", "--require", "x"], "config.value"),
        (["--models", "f", "--batch", "8"], "config.value"),
        (["--model", "m", "--name", "m", "--secret", "s"], "config.value"),
        (PACKAGE, "config.missing"),
        ([*PACKAGE, *CHECKED[:4]], "config.missing"),
        ([*PACKAGE, *CHECKED[:6]], "config.missing"),
        ([*PACKAGE, *CHECKED[2:]], "config.missing"),
        (["--package", "p", *CHECKED], "config.missing"),
    ],
)
def test_other_words_are_refused(words: list[str], code: str) -> None:
    """No source, two, or a package of which nothing is required."""
    with pytest.raises(ConfigError) as caught:
        require_one_source(parse_options(words))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "word",
    ["--deadline", "--request-timeout", "--idle-timeout", "--handshake-timeout"],
)
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_a_time_that_is_none_is_refused(word: str, value: str) -> None:
    """Such a server would answer nothing, or wait for ever."""
    with pytest.raises(ConfigError, match=word) as caught:
        require_usable_limits(parse_options([f"{word}={value}"]))
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    "word",
    ["--max-request-bytes", "--connections", "--waiting", "--threads", "--computations"],
)
def test_a_limit_of_nothing_is_refused(word: str) -> None:
    """One is a limit; what is said by nobody is as well."""
    with pytest.raises(ConfigError, match=word) as caught:
        require_usable_limits(parse_options([f"{word}=0"]))
    assert caught.value.code == "config.value"
    require_usable_limits(parse_options([f"{word}=1"]))
    require_usable_limits(parse_options([]))
