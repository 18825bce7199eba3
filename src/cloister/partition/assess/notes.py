"""What a report says in sentences: what its numbers are, and what they are not."""

from __future__ import annotations

from typing import Final

from cloister.partition.assess.networks import Network
from cloister.partition.assess.sample import Material
from cloister.partition.assess.state import Finished
from cloister.partition.assess.verdict import ATTENTION, attends

__all__ = ["EXPOSED", "NO_BOUND", "of"]

NO_BOUND: Final = (
    "These attacks were run within a budget. That they fail is no bound on what another attacker "
    "gets with more time, more public images or a better idea."
)
EXPOSED: Final = (
    "A cut in three does not hide the exposed part's weights: whoever runs it has them, and copies "
    "of the model are measured beside the cuts."
)
_LISTED: Final = 12


def of(
    *,
    network: Network,
    material: Material,
    finished: Finished,
    not_run: tuple[str, ...],
    device: str,
    mean_image: float,
    doubts: tuple[str, ...] = (),
    stopped: bool = False,
) -> tuple[str, ...]:
    """Return the notes, the most important first.

    Args:
        network: The model.
        material: The images.
        finished: What was done.
        not_run: What was asked for and not done.
        device: What computed.
        mean_image: SSIM of the mean public image with held-out ones, on average.
        doubts: What speaks against all of it.
        stopped: A person ended it.
    """
    made = [*doubts, NO_BOUND, EXPOSED]
    if attends(network.graph.nodes):
        made.append(ATTENTION)
    made += material.notes
    if material.private_labels is None:
        made.append(
            "no classes were given: what the model itself says stands for them where a defence's "
            "cost in accuracy is measured"
        )
    if material.members is None:
        made.append(
            "membership was not attacked: nobody said which images the model was trained with"
        )
    if not network.differentiable:
        made.append(
            "the model gives no gradients in this format: the search with the weights, copies, "
            "synthesis and all defences but noise were not run"
        )
    if not_run:
        rest = f" and {len(not_run) - _LISTED} more" if len(not_run) > _LISTED else ""
        why = "as somebody stopped it" if stopped else "for lack of time"
        made.append(f"not run, {why}: {', '.join(not_run[:_LISTED])}{rest}")
    made += [
        f"{name.removeprefix('cut/')} is no place to cut: {why}"
        for name, why in list(finished.skipped.items())[:_LISTED]
    ]
    made.append(
        f"by guessing the mean of the public images, with nothing to look at, SSIM is "
        f"{mean_image:.2f} on average; ssim-gain counts from there"
    )
    made.append(
        "of answers that are right or wrong, the worst tenth are those the attacker is surest of"
    )
    made.append(f"computed on {device}")
    said = [note for name in finished.remarks for note in finished.remarks[name]]
    property_ = next((note for note in said if note.startswith("property")), None)
    if property_ is not None:
        made.append(property_)
    return tuple(made)
