"""Init data of confidential guests."""

from __future__ import annotations

import base64
import gzip
import hashlib
import tomllib

import pytest

from cloister.errors import ConfigError
from cloister.tee.registry import by_name
from cloister.training.kubernetes.initdata import Root, init_data

_RULES = "package agent_policy\n\ndefault ExecProcessRequest := false\n"


@pytest.mark.parametrize(
    ("root", "claim", "algorithm"),
    [("tdx", "mr_config_id", "sha384"), ("snp", "host_data", "sha256")],
)
def test_the_digest_fills_the_register(root: Root, claim: str, algorithm: str) -> None:
    """MRCONFIGID has 48 bytes and HOST_DATA 32: nothing is cut, and nothing is padded."""
    made = init_data(root, agent_policy=_RULES)
    assert made.claim == claim
    assert made.digest == hashlib.new(algorithm, made.text.encode()).hexdigest()
    kind = by_name(root)
    assert kind is not None
    assert claim in {field.path for field in kind.fields()}


def test_the_annotation_is_the_text_packed() -> None:
    """As the runtime unpacks it, and the same each time."""
    made = init_data("tdx", agent_policy=_RULES)
    assert gzip.decompress(base64.b64decode(made.annotation, validate=True)).decode() == made.text
    assert made.annotation == init_data("tdx", agent_policy=_RULES).annotation


def test_a_toml_reader_finds_the_rules() -> None:
    """Byte for byte."""
    read = tomllib.loads(init_data("snp", agent_policy=_RULES).text)
    assert (read["version"], read["algorithm"]) == ("0.1.0", "sha256")
    assert read["data"]["policy.rego"] == _RULES
    assert tomllib.loads(read["data"]["cdh.toml"])["kbc"]["name"] == "offline_fs_kbc"
    assert tomllib.loads(read["data"]["aa.toml"]) == {"token_configs": {}}


@pytest.mark.parametrize("rules", ["a '''\n[data]\n", "a\x00b", "a\rb"])
def test_rules_that_would_end_early_are_refused(rules: str) -> None:
    """They would be other rules on the other side."""
    with pytest.raises(ConfigError) as caught:
        init_data("tdx", agent_policy=rules)
    assert caught.value.code == "config.value"
