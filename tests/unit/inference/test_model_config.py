"""What stands beside a model is read strictly."""

import json

import pytest

from cloister.errors import MalformedError
from cloister.inference.model_config import (
    MAX_CONFIG_BYTES,
    Batching,
    Classification,
    ModelConfig,
    VersionRule,
    read_config,
    read_labels,
    read_version_rule,
)


@pytest.mark.spec("SRV-42")
def test_configurations() -> None:
    """Everything may be left out, and what is there is what it says."""
    assert read_config(b"{}") == ModelConfig()
    record = {
        "batching": {"rows": 32, "delay_ms": 2},
        "classification": {"top": 3, "output": "y", "at_least": 0.5},
    }
    expected = ModelConfig(Batching(32, 0.002), Classification(3, "y", 0.5))
    assert read_config(json.dumps(record).encode()) == expected
    assert read_config(b'{"batching": {"rows": 2}}').batching == Batching(2, 0.0)
    assert read_config(b'{"classification": {"top": 1}}').classification == Classification(1)


@pytest.mark.spec("SRV-42")
@pytest.mark.parametrize("text", [
    "", "[]", "nonsense", '{"other": 1}', '{"batching": {}}', '{"batching": 3}',
    '{"batching": {"rows": 1}}', '{"batching": {"rows": 1025}}', '{"batching": {"rows": true}}',
    '{"batching": {"rows": 2, "delay_ms": -1}}', '{"batching": {"rows": 2, "delay_ms": "2"}}',
    '{"batching": {"rows": 2, "delay_ms": NaN}}', '{"batching": {"rows": 2, "more": 1}}',
    '{"classification": {"top": 0}}', '{"classification": {"top": 1, "output": 2}}',
    '{"classification": {"top": 1, "at_least": "x"}}', '{"classification": {"output": "y"}}',
    '{"batching": {"rows": 2, "rows": 4}}',
])  # fmt: skip
def test_configurations_that_are_none(text: str) -> None:
    """Refused as a whole."""
    with pytest.raises(MalformedError) as caught:
        read_config(text.encode())
    assert caught.value.code == "model.malformed"


@pytest.mark.spec("SRV-41")
def test_labels() -> None:
    """A list of texts in the model's order."""
    assert read_labels('["null", "eins", "zwei ½"]'.encode()) == ("null", "eins", "zwei ½")


@pytest.mark.spec("SRV-41")
@pytest.mark.parametrize("text", [
    "", "{}", "[]", "[1]", '[""]', '["a\\n"]', '["' + "a" * 257 + '"]', '["\\ud800"]', '["a"',
])  # fmt: skip
def test_labels_that_are_none(text: str) -> None:
    """Refused as a whole."""
    with pytest.raises(MalformedError) as caught:
        read_labels(text.encode())
    assert caught.value.code == "model.malformed"


def test_a_file_that_is_too_long_is_not_read() -> None:
    """Whatever is in it; nor one that is nested too deeply."""
    for data in (b" " * (MAX_CONFIG_BYTES + 1), b"[" * 100_000):
        with pytest.raises(MalformedError) as caught:
            read_labels(data)
        assert caught.value.code == "wire.too-large"


@pytest.mark.spec("SRV-43")
def test_rules_of_versions() -> None:
    """How many, and what some are called; the server's own number where the file says none."""
    assert read_version_rule(b"{}", latest=2) == VersionRule(2, {})
    text = b'{"latest": 3, "labels": {"stable": 7}}'
    assert read_version_rule(text, latest=1) == VersionRule(3, {"stable": 7})


@pytest.mark.spec("SRV-43")
@pytest.mark.parametrize("text", [
    "", "[]", '{"latest": 0}', '{"latest": 17}', '{"latest": 1.0}', '{"labels": []}',
    '{"labels": {"Stable": 1}}', '{"labels": {"a/b": 1}}', '{"labels": {"a": 0}}', '{"more": 1}',
])  # fmt: skip
def test_rules_that_are_none(text: str) -> None:
    """Refused as a whole."""
    with pytest.raises(MalformedError) as caught:
        read_version_rule(text.encode(), latest=1)
    assert caught.value.code == "model.malformed"
