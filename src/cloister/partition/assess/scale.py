"""The ends of every metric's scale: what is reached by who has everything, and by who has noise."""

from __future__ import annotations

import numpy as np

from cloister.partition.assess.attacking import target_of
from cloister.partition.assess.networks import Network, probabilities
from cloister.partition.assess.sample import Material
from cloister.partition.assess.showing import ends as ends_of
from cloister.partition.graph import Cut

__all__ = ["scale_of"]


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
