"""The list of layers, and what their settings may say."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.errors import MalformedError, RefusedError
from cloister.partition.keras_layers import LAYERS, checked_config

CONV: dict[str, Any] = {
    "name": "c",
    "trainable": True,
    "dtype": {"class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None},
    "filters": 4,
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "same",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "relu",
    "use_bias": True,
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "kernel_regularizer": None,
    "quantization_config": None,
}


def test_settings_are_passed_on_one_by_one() -> None:
    assert checked_config("Conv2D", CONV) == {
        "filters": 4,
        "kernel_size": (3, 3),
        "strides": (1, 1),
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": (1, 1),
        "groups": 1,
        "activation": "relu",
        "use_bias": True,
    }


def test_what_only_matters_in_training_is_an_identity() -> None:
    assert checked_config("Dropout", {"rate": 0.5, "seed": 3, "noise_shape": None}) == {}


@pytest.mark.parametrize("kind", ["Lambda", "TFSMLayer", "Custom", "RandomFlip", "__import__", ""])
def test_a_layer_that_is_not_on_the_list_is_refused(kind: str) -> None:
    with pytest.raises(RefusedError) as caught:
        checked_config(kind, {})
    assert caught.value.code == "model.unsafe"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("activation", {"class_name": "function", "config": "os.system"}, "model.unsafe"),
        ("activation", "os.system", "model.operator"),
        ("activation", ["relu"], "model.operator"),
        ("filters", 0, "model.operator"),
        ("filters", 2**40, "model.operator"),
        ("filters", True, "model.operator"),
        ("filters", "4", "model.operator"),
        ("kernel_size", [3, 3, 3], "model.operator"),
        ("kernel_size", [3, -3], "model.operator"),
        ("padding", "causal", "model.operator"),
        ("data_format", "somewhere", "model.operator"),
        ("use_bias", 1, "model.operator"),
        ("quantization_config", {"bits": 4}, "model.operator"),
        ("unheard_of", "x", "model.operator"),
        ("dtype", "float16", "model.operator"),
        ("dtype", {"class_name": "QuantizedDTypePolicy", "config": {}}, "model.operator"),
    ],
)
def test_a_setting_that_is_not_plain_is_refused(key: str, value: Any, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        checked_config("Conv2D", CONV | {key: value})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Rescaling", {"scale": float("inf")}),
        ("Rescaling", {"scale": {"class_name": "Evil"}}),
        ("Reshape", {"target_shape": [2] * 9}),
        ("BatchNormalization", {"axis": [1, 2]}),
        ("ReLU", {"max_value": "6"}),
        ("Concatenate", {"axis": 99}),
    ],
)
def test_settings_of_other_layers_are_checked_too(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        checked_config(kind, settings)


def test_axes_of_older_files_are_one_number() -> None:
    assert checked_config("BatchNormalization", {"axis": [3]}) == {"axis": 3}


def test_settings_of_older_files_are_those_of_newer_ones() -> None:
    assert checked_config("LeakyReLU", {"alpha": 0.25}) == {"negative_slope": 0.25}
    assert checked_config("DepthwiseConv2D", {"kernel_size": [1, 1], "groups": 1}) == {
        "kernel_size": (1, 1)
    }
    with pytest.raises(RefusedError):
        checked_config("DepthwiseConv2D", {"groups": 2})


def test_no_settings_are_malformed() -> None:
    with pytest.raises(MalformedError) as caught:
        checked_config("Dense", None)
    assert caught.value.code == "model.malformed"


def test_no_layer_on_the_list_takes_a_function() -> None:
    """Nothing on it is called by a name from the file."""
    assert not LAYERS.keys() & {"Lambda", "RNN", "Bidirectional", "TimeDistributed", "Wrapper"}
