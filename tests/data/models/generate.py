"""Make the models that the tests serve, with TensorFlow: run once, results are checked in.

`digits.tflite`: one input with an open first axis, one output, 8x8 images to ten classes.
`pair.tflite`: two inputs of fixed shape and other types, two outputs.
`blocks.tflite`, `blocks.keras`, `blocks.h5`: a residual block, a dense block and a block of
separable convolutions; 12x12 images in three colours to five classes; normalisation with weights.
`nested.keras`: a sequential model called twice, in a model of two outputs.
`counter.tflite`: keeps a variable that each computation raises by its input.
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
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


def blocks() -> keras.Model:
    """Return a small model with all that crosses a cut at once."""
    layer = keras.layers
    image = keras.Input((12, 12, 3), name="image")
    x = layer.Rescaling(1 / 255, name="scaled")(image)
    x = layer.Conv2D(6, 3, padding="same", use_bias=False, name="conv1")(x)
    x = before = layer.ReLU(6.0, name="relu1")(layer.BatchNormalization(name="norm1")(x))
    x = layer.Conv2D(6, 3, padding="same", activation="relu", name="conv2")(x)
    x = layer.BatchNormalization(name="norm2")(layer.Conv2D(6, 3, padding="same", name="conv3")(x))
    x = layer.Add(name="add")([before, x])
    for number in (1, 2):
        grown = layer.Conv2D(3, 3, padding="same", activation="relu", name=f"grow{number}")(x)
        x = layer.Concatenate(name=f"cat{number}")([x, grown])
    x = layer.MaxPooling2D(name="pool")(x)
    x = layer.ZeroPadding2D(1, name="pad")(x)
    x = layer.DepthwiseConv2D(3, name="depthwise")(x)
    x = layer.SeparableConv2D(8, 3, padding="same", activation="swish", name="separable")(x)
    x = layer.LayerNormalization(name="layers")(x)
    x = layer.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layer.Dropout(0.3, name="dropout")(layer.GlobalAveragePooling2D(name="global")(x))
    label = layer.Dense(5, activation="softmax", name="label")(x)
    model = keras.Model(image, label, name="blocks")
    generator = np.random.default_rng(7)
    for variable in model.weights:
        if "seed" not in variable.path:
            noise = generator.uniform(0.5, 1.5, variable.shape)
            kernel = "kernel" in variable.path or "beta" in variable.path
            variable.assign((noise - 1) if kernel else noise)
    return model


def nested() -> keras.Model:
    """Return a model within a model."""
    inner = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(6)],
        name="inner",
    )
    numbers = keras.Input((6,), name="numbers")
    added = keras.layers.Add(name="sum")([inner(numbers), inner(inner(numbers))])
    return keras.Model(numbers, [added, keras.layers.Dense(2, name="two")(added)], name="nested")


def main() -> None:
    """Write all models."""
    keras.utils.set_random_seed(7)
    model = blocks()
    convert(tf.lite.TFLiteConverter.from_keras_model(model), "blocks.tflite")
    model.save(HERE / "blocks.keras")
    model.save(HERE / "blocks.h5")
    nested().save(HERE / "nested.keras")
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
