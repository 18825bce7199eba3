"""Run by the workload's interpreter at its start, as Python does with a module of this name.

Prepares Keras for several workers where TensorFlow has been told of a cluster, and then runs the
`sitecustomize` that would have been found without this one.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

__all__: list[str] = []


def _run_the_next() -> None:
    """Run the next module of this name on the path, and let it have the name."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib is slow to import at every start
    rest = [entry for entry in sys.path if os.path.abspath(entry) != here]  # noqa: PTH100  # as above
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":  # not when somebody reads or tests it as part of the package
    if "TF_CONFIG" in os.environ:
        import_module("cloister_keras").install()  # found beside this file, not in a package
    _run_the_next()
