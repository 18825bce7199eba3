"""The ends of every metric's scale: what is reached by who has everything, and by who has noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from cloister.partition.assess.attacking import target_of
from cloister.partition.assess.networks import Network, probabilities
from cloister.partition.assess.sample import Material
from cloister.partition.assess.showing import ends as ends_of
from cloister.partition.graph import Cut

__all__ = ["near_chance", "scale_of"]

# Of the way from guessing to being always right, what a model that sees its images has passed.
_LEAST_WAY: Final = 0.1


def scale_of(
    network: Network, cut: Cut, material: Material, *, seed: int
) -> tuple[dict[str, float], dict[str, float], float]:
    """Return both ends by metric, and the SSIM of the mean public image with held-out ones.

    For images these are the originals and white noise. For the model they are the model itself, and
    always saying what it says most often of public images; accuracy only where classes are known.
    """
    found = ends_of(target_of(network, cut, material), seed=seed)
    identity, noise = dict(found["identity"]), dict(found["noise"])
    said = probabilities(network.scores(material.private)).argmax(axis=1)
    public = probabilities(network.scores(material.proxy)).argmax(axis=1)
    most = int(np.bincount(public).argmax())
    identity["fidelity"], noise["fidelity"] = 1.0, float((said == most).mean())
    if material.private_labels is not None:
        labels = material.private_labels
        identity["accuracy"] = float((said == labels).mean())
        noise["accuracy"] = float((labels == most).mean())
    return identity, noise, float(found["mean"]["ssim"])


def near_chance(
    identity: Mapping[str, float], noise: Mapping[str, float], *, classes: int
) -> str | None:
    """Return a doubt about a model that is hardly better than guessing; None without classes.

    Args:
        identity: What the model itself reaches, by metric.
        noise: What is reached by always saying the same.
        classes: How many there are; -1 where that is not said.
    """
    if "accuracy" not in identity:
        return None
    accuracy = identity["accuracy"]
    chance = max(noise["accuracy"], 1 / classes if classes > 0 else 0.0)
    if accuracy > chance + _LEAST_WAY * (1 - chance):
        return None
    return (
        f"the model is right about {100 * accuracy:.0f} % of the held-out images, where guessing "
        f"is about {100 * chance:.0f} %; see whether they are in the scale that it takes (--ends), "
        "and their classes in its order: where not, attacks look weaker than they are"
    )
