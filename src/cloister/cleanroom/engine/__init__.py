"""The trusted engine of a clean room: trains models that a recipe has declared.

Example::

    from cloister.cleanroom.engine import Privacy, build_engine

    engine = build_engine(description, framework="torch", seed=1, privacy=None)
    for _ in range(100):
        engine.step_from(x, y)
    print(engine.evaluate(test_x, test_y).accuracy)

What is trusted: all of this package, and the framework. What is not: the description, whose reader
has checked it, and the examples, which may be anything of the right shape.

- `network`: a description as steps, and where each weight is in one vector;
- `forward`: the steps, over operations that a framework has;
- `on_tensorflow`, `on_jax`, `on_torch`: those operations, and gradients;
- `batches`, `clipping`, `noise`, `optimizers`: everything else of a step, without a framework;
- `privacy`: what the terms demand of it;
- `engine`: the step.
"""

from cloister.cleanroom.engine.engine import Engine, Metrics, build_engine
from cloister.cleanroom.engine.privacy import Privacy

__all__ = ["Engine", "Metrics", "Privacy", "build_engine"]
