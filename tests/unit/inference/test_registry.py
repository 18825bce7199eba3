"""What is served at this moment."""

import pytest

from cloister.errors import MalformedError
from cloister.inference.model_config import Classification, ModelConfig
from cloister.inference.registry import Registry
from cloister.inference.tensor import TensorSpec
from unit.inference.served import Half, Pair, Scores, registry_of, served


def test_the_newest_answers_where_none_is_asked_for() -> None:
    """By number, by label, and nothing for what is not there."""
    old, new = served("half", "9", Half()), served("half", "10", Half())
    registry = registry_of(old, new, stable="9", gone="7")
    assert registry.find("half") is new
    assert registry.find("half", "9") is old
    assert registry.find("half", None, "stable") is old
    for asked in (("other",), ("half", "8"), ("half", None, "gone"), ("half", None, "none")):
        assert registry.find(*asked) is None
    assert list(registry.all()) == [old, new]


@pytest.mark.spec("SRV-44")
def test_a_change_replaces_everything_at_once() -> None:
    """Whoever found a version keeps it."""
    old, new = served("half", "1", Half()), served("half", "2", Half())
    registry = registry_of(old)
    held, shelves = registry.find("half"), registry.shelves
    registry.replace(registry_of(new).shelves, refused={("half", 3): "model.malformed"})
    assert held is old
    assert shelves["half"].newest is old
    assert registry.find("half") is new
    assert registry.refused == {("half", 3): "model.malformed"}
    registry.replace({})
    assert registry.find("half") is None


def test_a_registry_of_models_has_one_version_of_each() -> None:
    """Names are names."""
    registry = Registry.of({"half": Half(), "pair": Pair()})
    assert [(each.name, each.version) for each in registry.all()] == [("half", "1"), ("pair", "1")]
    with pytest.raises(MalformedError):
        Registry.of({"a/b": Half()})


@pytest.mark.spec("SRV-70")
def test_classes_are_told_as_texts() -> None:
    """In the model's description too."""
    config = ModelConfig(classification=Classification(2))
    assert served("s", "1", Scores(), config=config).outputs == (
        TensorSpec("scores", "BYTES", (-1, 2)),
    )
    named = ModelConfig(classification=Classification(1, "not"))
    assert served("p", "1", Pair(), config=named).outputs == (
        TensorSpec("twice", "INT32", (-1,)),
        TensorSpec("not", "BYTES", (-1, 1)),
    )
