"""Models, optimizers and loops for which the promise of a private training would not hold.

The gradient of an example is computed with a batch of that example alone, so no layer can mix
examples by what it computes. It could by what it remembers: anything that a forward pass assigns,
but for seeds of random layers, is refused when the step is traced.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from cloister.errors import ConfigError
from cloister.training.privacy.frameworks import keras, tf

__all__ = [
    "refusal",
    "require_no_strategy",
    "require_no_writes",
    "require_optimizer",
    "require_private",
    "require_stateless",
    "seed_states",
]

_MIXING: Final = {
    "BatchNormalization": "it normalises an example by the others of its batch",
    "SpectralNormalization": "it changes a weight in the forward pass",
}
_OVERRIDES: Final = ("train_step", "compute_loss", "fit", "train_on_batch", "make_train_function")
_WRITES: Final = ("Assign", "ResourceApply", "ResourceScatter", "Scatter", "PyFunc", "EagerPyFunc")


def require_private(model: Any) -> None:
    """Refuse what can be seen to be wrong before the first step.

    Raises:
        ConfigError: `privacy.refused`.
    """
    if not isinstance(model, keras.Model):
        raise refusal(f"{type(model).__name__} is not a Keras model")
    for name in _OVERRIDES:
        if getattr(type(model), name) is not _original(model, name):
            raise refusal(
                f"{type(model).__name__} has a {name} of its own, which would be left out",
                hint="private training has its own step: move the loss into compile, or add_loss",
            )
    for layer in model._flatten_layers():  # noqa: SLF001  # Keras has no other walk over all layers
        _require_layer(layer)
    for weight in model.trainable_weights:
        if keras.backend.standardize_dtype(weight.dtype) not in ("float32", "float64"):
            raise refusal(
                f"the weight {weight.path} is of type {weight.dtype}: too few digits for the noise",
                hint="the dtype policy mixed_bfloat16 computes in 16 bits and keeps 32",
            )


def require_no_strategy(model: Any) -> None:
    """Refuse several replicas: each would add its own noise to its own sample.

    Raises:
        ConfigError: `privacy.refused`.
    """
    if tf.distribute.has_strategy() or model._distribute_strategy is not None:  # noqa: SLF001  # Keras has no other way to ask
        raise refusal(
            "a private training runs in one process: samples and noise of several replicas are not"
            " accounted for",
            hint="build and train the model outside of any tf.distribute strategy",
        )


def require_optimizer(optimizer: Any) -> None:
    """Refuse an optimizer that scales the loss: norms would be those of scaled gradients."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise refusal(
            "loss scaling changes the gradients that are clipped",
            hint="the dtype policy mixed_bfloat16 needs none; or compile(auto_scale_loss=False)",
        )


def require_stateless(scope: Any, model: Any, mapping: Iterable[tuple[Any, Any]]) -> None:
    """Refuse a forward pass that has assigned to anything but seeds.

    Args:
        scope: The stateless scope after the pass.
        model: The model, to name the variable.
        mapping: What the scope had at first: weights and seeds with their values.
    """
    weights = {id(variable): value for variable, value in mapping}
    seeds = {id(each) for each in seed_states(model)}
    for variable in model.variables:
        found = scope.get_current_value(variable)
        if id(variable) not in seeds and found is not weights.get(id(variable)):
            raise refusal(
                f"{variable.path} is changed by the forward pass: what it learns from the examples"
                " has no noise",
                hint="freeze the layer (trainable = False), or normalise by layers or groups",
            )


def require_no_writes(operations: Iterable[Any]) -> None:
    """Refuse a traced pass that writes to a variable of TensorFlow or runs Python."""
    for operation in operations:
        if operation.type.startswith(_WRITES):
            raise refusal(
                f"the forward pass has the operation {operation.type}, which may keep what it sees"
            )


def seed_states(model: Any) -> list[Any]:
    """Return the states of random layers' seeds."""
    return [
        each
        for each in model.non_trainable_variables
        if each.path.endswith("seed_generator_state") and tuple(each.shape) == (2,)
    ]


def refusal(public: str, *, hint: str | None = None) -> ConfigError:
    """Return the one error of this module."""
    return ConfigError(public, code="privacy.refused", hint=hint)


def _require_layer(layer: Any) -> None:
    for kind in type(layer).__mro__:
        why = _MIXING.get(kind.__name__)
        if why is not None and layer.trainable:
            raise refusal(
                f"the layer {layer.name} is a {kind.__name__}: {why}",
                hint="GroupNormalization or LayerNormalization; or freeze it (trainable = False)",
            )
    if getattr(layer, "stateful", False) is True:
        raise refusal(f"the layer {layer.name} carries its state from one example to another")


def _original(model: Any, name: str) -> Any:
    """Return what Keras's own class has under that name."""
    for kind in type(model).__mro__:
        if kind.__module__.partition(".")[0] == "keras" and name in vars(kind):
            return vars(kind)[name]
    return None
