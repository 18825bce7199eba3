"""What somebody tries who wants more than the terms give him. Each returns how it was refused.

An empty text means that it worked: the demonstration then says so and fails.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloister.cli.cleanroom_demo.material import spying_recipe
from cloister.cli.cleanroom_demo.people import DATA_OWNER, MODEL_OWNER, OPERATOR, People
from cloister.errors import CloisterError

if TYPE_CHECKING:
    from cloister.cleanroom.terms import Terms

__all__ = ["AFTERWARDS", "ATTEMPTS", "Attempt", "spy"]

_SPY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that somebody tried.

    Attributes:
        party: Who.
        what: In words.
        by: Does it; returns the code with which it was refused.
    """

    party: str
    what: str
    by: Callable[[People], str]


def open_recipe(people: People) -> str:
    """Open the recipe's volume with the data owner's key."""
    words = ("volume", "open", people.stores / "recipe", people.data_owner.folder / "stolen")
    return people.data_owner.try_(*words).code


def open_records(people: People) -> str:
    """Open the records' volume with the model owner's key."""
    words = ("volume", "open", people.stores / "records", people.model_owner.folder / "stolen")
    return people.model_owner.try_(*words).code


def open_without_key(people: People) -> str:
    """Open the model's volume as the founder of the trust domain."""
    words = ("volume", "open", people.stores / "model", people.operator.folder / "stolen")
    return people.operator.try_(*words).code


def propose_alone(people: People) -> str:
    """Propose a policy by which the trainer runs the model owner's own program on the records."""
    owner = people.model_owner
    present = json.dumps(owner.do("policy", "hash", owner.room / "policy.yaml", named=True)["hash"])
    text = (owner.room / "policy.yaml").read_text()
    text = text.replace('"cloister.cleanroom.trainer"', '"mine"')
    text = text.replace('predecessor: "none"', f"predecessor: {present}")
    (owner.folder / "mine.yaml").write_text(text)
    done = owner.try_("policy", "apply", owner.folder / "mine.yaml")
    return done.code or str(done.record.get("state", ""))


def run_other_code(people: People) -> str:
    """Start the trainer with a file beside the signed terms, which Python would load."""
    operator = people.operator
    code = operator.folder / "changed-code"
    shutil.copytree(operator.room / "code", code)
    (code / "sitecustomize.py").write_text("print(open('/data/x.npy', 'rb').read())\n")
    words = ("run", operator.room / "policy.yaml", "--workload", "server", "--code", code)
    return operator.try_(*words, "--volume", f"model={people.stores / 'model'}",
        "--volume", f"report-model-owner={people.stores / 'report-model-owner'}",
        "--volume", f"report-data-owner={people.stores / 'report-data-owner'}",
    ).code  # fmt: skip


def run_after_the_end(people: People) -> str:
    """Start the room's server after the room was closed."""
    operator = people.operator
    code = operator.room / "code"
    words = ("run", operator.room / "policy.yaml", "--workload", "server", "--code", code)
    return operator.try_(*words, "--volume", f"model={people.stores / 'model'}",
        "--volume", f"report-model-owner={people.stores / 'report-model-owner'}",
        "--volume", f"report-data-owner={people.stores / 'report-data-owner'}",
    ).code  # fmt: skip


ATTEMPTS: Final = (
    Attempt(DATA_OWNER, "opens the recipe's volume", open_recipe),
    Attempt(MODEL_OWNER, "opens the records' volume", open_records),
    Attempt(OPERATOR, "opens the model's volume, as founder of the domain", open_without_key),
    Attempt(MODEL_OWNER, "puts a program of hers on the records, alone", propose_alone),
    Attempt(OPERATOR, "puts a file beside the signed terms", run_other_code),
)
AFTERWARDS: Final = (Attempt(OPERATOR, "goes on after the room was closed", run_after_the_end),)


def spy(people: People, terms: Terms, *, port: int) -> Mapping[str, str]:
    """Put a recipe that wants the records out into a cell like the room's, with records.

    Args:
        people: Of whom the operator's log is to be read, and a file be put beside it.
        terms: What the cell is made by.
        port: Where the key service really listens.

    Returns:
        What it tried, to the error that it got; an empty text for what worked.

    Raises:
        CloisterError: The cell could not be made, or the recipe did not get to say.
    """
    import numpy as np

    from cloister.cleanroom.cells import recipe_in, warm_parent

    log = people.operator.folder / "keyservice.log"
    left = people.operator.folder / "left-by-recipe"
    with contextlib.ExitStack() as stack:
        warm = stack.enter_context(warm_parent(terms, terms.training.frameworks[0]))
        warm.start()
        files = {"recipe.py": spying_recipe()}
        asked = stack.enter_context(recipe_in(warm, files, deadline=lambda: _SPY_S))
        spec = {"port": port, "read": str(log), "leave": str(left)}
        x, y = np.zeros((1, 1), np.float32), np.zeros(1, np.int32)
        plan = asked.build(spec, x, y, by_recipe=True, most_bytes=1 << 20)
    found = json.loads(plan.state["tried"].tobytes())
    if not isinstance(found, dict) or not found:
        raise CloisterError("the spying recipe said nothing", code="recipe.malformed")
    told = {str(name): str(code) for name, code in found.items()}
    if left.exists():  # whatever the recipe says
        told["leaves a file on the machine"] = ""
    return told
