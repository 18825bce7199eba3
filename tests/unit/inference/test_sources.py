"""What a server serves, from its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError, ConfigError, MalformedError
from cloister.inference.metrics import Metrics
from cloister.inference.model_config import Batching
from cloister.inference.options import parse_options
from cloister.inference.packaged import Partitioned
from cloister.inference.sources import open_models
from unit.inference.onnx_models import half_plus
from unit.inference.served import Half, Scores
from unit.inference.test_catalogue import put


def opened(*words: str, **more: Any) -> Any:
    return open_models(parse_options(words), metrics=Metrics(), **more)


def test_one_file_is_version_one(tmp_path: Path) -> None:
    """Of either format; nothing is looked at afterwards."""
    (tmp_path / "m.onnx").write_bytes(half_plus(1.0))
    registry, step = opened("--model", str(tmp_path / "m.onnx"), "--name", "m")
    assert [each.version for each in registry.all()] == ["1"]
    assert step is None


def test_a_catalogue_is_looked_at_again(tmp_path: Path) -> None:
    """What is there is served at once."""
    put(tmp_path, "m", "3", half_plus(1.0))
    registry, step = opened("--models", str(tmp_path))
    put(tmp_path, "m", "4", half_plus(2.0))
    step()
    step()
    assert [each.version for each in registry.all()] == ["4"]


def test_a_package_is_what_its_opener_makes_of_it() -> None:
    """The options say where it lies and what it must show."""
    words = ["--package", "p", "--secret", "s", "--signer", "k", "--require", "x<=1", "--name", "m"]
    cut = Partitioned(Half(), ("a", "b"), "it is checked")
    told: list[Any] = []

    def opener(_options: Any, counter: Any) -> Partitioned:
        told.append(counter)
        return cut

    registry, step = opened(*words, partitioned=opener)
    assert [type(each) for each in told] == [Metrics]
    served = registry.find("m")
    assert (served.labels.count, served.note) == (2, "it is checked")
    assert served.config.classification is None
    assert step is None


@pytest.mark.spec("SRV-47")
def test_of_a_package_the_best_classes_alone_may_leave() -> None:
    """As many as there are, and no fewer than one."""
    words = ["--package", "p", "--secret", "s", "--signer", "k", "--require", "x<=1", "--name", "m"]
    cut = Partitioned(Scores(), ("a", "b", "c"), "")
    registry, _ = opened(*words, "--top", "2", partitioned=lambda *_: cut)
    served = registry.find("m")
    assert [(spec.datatype, spec.shape[-1]) for spec in served.outputs] == [("BYTES", 2)]
    for top, code in (("0", "config.value"), ("4", "model.malformed")):
        with pytest.raises(CloisterError) as caught:
            opened(*words, "--top", top, partitioned=lambda *_: cut)
        assert caught.value.code == code


@pytest.mark.spec("SRV-47")
def test_queries_of_a_package_are_joined_where_words_say_so() -> None:
    """Up to so many rows, after so long; alone where nothing is said."""
    words = ["--package", "p", "--secret", "s", "--signer", "k", "--require", "x<=1", "--name", "m"]
    cut = Partitioned(Half(), None, "")
    registry, _ = opened(*words, partitioned=lambda *_: cut)
    assert registry.find("m").config.batching is None
    more = ["--batch", "8", "--batch-delay", "2.5"]
    registry, _ = opened(*words, *more, partitioned=lambda *_: cut)
    served = registry.find("m")
    assert served.config.batching == Batching(8, delay_s=0.0025)
    assert served.line.rows_at_once == 8
    for bad in (["1"], ["1025"], ["8", "--batch-delay", "-1"], ["8", "--batch-delay", "nan"]):
        with pytest.raises(ConfigError) as caught:
            opened(*words, "--batch", *bad, partitioned=lambda *_: cut)
        assert caught.value.code == "config.value"


@pytest.mark.spec("SRV-2")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--models", "/nowhere"], "config.file"),
        (["--models", "EMPTY"], "config.missing"),
        (["--model", "m.keras", "--name", "m"], "config.file"),
        (["--models", "EMPTY", "--threads", "0"], "config.value"),
        (["--models", "EMPTY", "--latest", "0"], "config.value"),
        (["--models", "EMPTY", "--waiting", "-1"], "config.value"),
    ],
)
def test_nothing_to_serve_is_a_mistake(tmp_path: Path, words: list[str], code: str) -> None:
    """Before anything listens."""
    with pytest.raises(ConfigError) as caught:
        opened(*[str(tmp_path) if word == "EMPTY" else word for word in words])
    assert caught.value.code == code


@pytest.mark.usefixtures("caplog")
def test_a_catalogue_of_broken_models_serves_nothing(tmp_path: Path) -> None:
    """And one broken file is a damaged model."""
    put(tmp_path, "m", "1", b"nonsense")
    with pytest.raises(ConfigError) as caught:
        opened("--models", str(tmp_path))
    assert caught.value.code == "config.missing"
    with pytest.raises(MalformedError) as malformed:
        opened("--model", str(tmp_path / "m" / "1" / "model.onnx"), "--name", "m")
    assert malformed.value.code == "model.malformed"
