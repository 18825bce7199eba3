"""Steps of MultiWorkerMirroredStrategy, timed by themselves: `light` or `heavy`, and how many."""

import hashlib
import json
import os
import sys
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

WIDTH = {"light": 128, "heavy": 1024}[sys.argv[1]]
STEPS = int(sys.argv[2])

strategy = tf.distribute.MultiWorkerMirroredStrategy()
tf.keras.utils.set_random_seed(1)
generator = np.random.default_rng(1)
images = generator.normal(size=(4096, 64)).astype("float32")
labels = generator.integers(0, 10, size=4096)
with strategy.scope():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(WIDTH, activation="relu", input_shape=(64,)),
            tf.keras.layers.Dense(WIDTH, activation="relu"),
            tf.keras.layers.Dense(10),
        ]
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.01), loss=loss)


class Clock(tf.keras.callbacks.Callback):
    """Notes how long each step took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


clock = Clock()
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().batch(64)
model.fit(data.with_options(options), steps_per_epoch=STEPS, verbose=0, callbacks=[clock])
steady = clock.seconds[STEPS // 5 :]
print(
    json.dumps(
        {
            "median_ms": 1000 * float(np.median(steady)),
            "mean_ms": 1000 * float(np.mean(steady)),
            "parameters": int(model.count_params()),
            "weights": hashlib.sha256(
                b"".join(w.tobytes() for w in model.get_weights())
            ).hexdigest(),
        }
    ),
    flush=True,
)
