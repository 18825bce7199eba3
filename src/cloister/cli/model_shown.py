"""A package, as people and programs see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloister.cli import console

if TYPE_CHECKING:
    from cloister.partition.package import Exposed

__all__ = ["record_of", "show"]

_SHOWN: dict[str, str] = {"front": "secret", "middle": "exposed", "back": "secret"}


def record_of(opened: Exposed) -> dict[str, object]:
    """Return what `--json` says of a package."""
    plan = opened.signed.plan
    return {
        "model": {
            "name": plan.name,
            "sha256": plan.model_sha256.hex(),
            "format": plan.model_format,
        },
        "signer": plan.signer.text,
        "made": plan.made,
        "front": {"position": plan.front.position, "tensors": list(plan.front.tensors)},
        "back": None
        if plan.back is None
        else {"position": plan.back.position, "tensors": list(plan.back.tensors)},
        "parts": [
            {
                "role": part.role,
                "format": part.format,
                "bytes": part.size,
                "sha256": part.sha256.hex(),
            }
            for part in plan.parts
        ],
        "labels": plan.labels_sha256 is not None,
        "equality": {
            "runtime": plan.equality.runtime,
            "trials": plan.equality.trials,
            "worst": plan.equality.worst,
            "bound": plan.equality.bound,
        },
        "held": [
            {"threshold": each.threshold.text, "knows": each.knows, "value": each.value}
            for each in opened.held
        ],
    }


def show(opened: Exposed) -> None:
    """Draw a package: its parts, what its report's numbers were held against, and what is open."""
    plan = opened.signed.plan
    name = console.printable(plan.name)
    rows = [
        (part.role, _SHOWN[part.role], part.format, f"{part.size:,}", part.sha256.hex()[:16])
        for part in plan.parts
    ]
    if plan.labels_sha256 is not None:
        rows.append(("labels", "secret", "", "", plan.labels_sha256.hex()[:16]))
    console.table(
        f"{name}, cut at {plan.front.position}", ("part", "is", "format", "bytes", "sha256"), rows
    )
    held = [(each.threshold.text, f"{each.value:.4g}", each.knows, "ok") for each in opened.held]
    console.table("What its report was held against", ("threshold", "found", "knows", ""), held)
    equality = plan.equality
    same = "the same bits" if equality.worst == 0 else f"at most {equality.worst:.3g} apart"
    console.lines(f"parts and whole  {same}, on {equality.trials} random inputs")
    console.lines(f"signed by        {plan.signer.text}")
    if plan.back is None:
        console.warn(
            "there is no back part: whoever runs the exposed part sees the model's answers, "
            "without the names of the classes"
        )
    if not any(each.threshold.attack == "knock-off" for each in opened.held):
        console.warn(
            "nothing was asked of how well the exposed part's weights let the model be copied; "
            "knock-off.fidelity.mean<=NUMBER asks it"
        )
