"""Make the models that the tests serve, with TensorFlow: run once, results are checked in.

`digits.tflite`: one input with an open first axis, one output, 8x8 images to ten classes.
`pair.tflite`: two inputs of fixed shape and other types, two outputs.
`counter.tflite`: keeps a variable that each computation raises by its input.
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf

HERE = Path(__file__).parent


class Pair(tf.Module):
    """Two inputs, two outputs."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([2, 3], tf.int32, name="numbers"),
            tf.TensorSpec([2], tf.float32, name="weights"),
        ]
    )
    def __call__(self, numbers: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
        """Weigh and sum."""
        weighed = tf.cast(numbers, tf.float32) * weights[:, None]
        return {"weighed": weighed, "sum": tf.reduce_sum(numbers, axis=1)}


class Counter(tf.Module):
    """Remembers what it was asked before."""

    def __init__(self) -> None:
        """Start at nought."""
        super().__init__()
        self.total = tf.Variable(tf.zeros([1]), name="total")

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="step")])
    def __call__(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Add and show."""
        return {"total": self.total.assign_add(step)}


def convert(converter: tf.lite.TFLiteConverter, name: str) -> None:
    """Write one model."""
    (HERE / name).write_bytes(converter.convert())


def main() -> None:
    """Write all models."""
    keras.utils.set_random_seed(7)
    layers = [
        keras.layers.Input((8, 8, 1), name="image"),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
    convert(tf.lite.TFLiteConverter.from_keras_model(keras.Sequential(layers)), "digits.tflite")
    pair, counter = Pair(), Counter()
    for module, name in ((pair, "pair.tflite"), (counter, "counter.tflite")):
        function = module.__call__.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.experimental_enable_resource_variables = True
        convert(converter, name)


if __name__ == "__main__":
    main()
