"""The trained model is asked: as often as the terms say, by whom they name, and by nobody else."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.cli.cleanroom_demo.people import DATA_OWNER, OPERATOR, People
from cloister.cli.demo.programs import running
from cloister.errors import UnavailableError

if TYPE_CHECKING:
    from cloister.cli.cleanroom_demo.material import Material

__all__ = ["LIMIT", "PRINCIPAL", "Asked", "ask"]

PRINCIPAL: Final = "data-owner"
LIMIT: Final = 4
_LISTENS: Final = re.compile(r"listens on 127\.0\.0\.1:([0-9]{1,5})$", re.MULTILINE)
_START_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it.

    Attributes:
        answered: How many queries were answered.
        right: How many of those have a right label, of the ones that have any.
        spent: What the model owner reads at the key service.
        attempts: What was tried, by whom, and how it was refused.
    """

    answered: int
    right: int
    spent: int
    attempts: tuple[dict[str, str], ...]


def ask(people: People, material: Material) -> Asked:
    """Serve the room's model, and ask it until no query is left.

    Raises:
        CloisterError: It cannot be served, or a query that is paid for fails.
    """
    his, operator = people.data_owner, people.operator
    files = material.write_queries(his.folder / "queries")
    operator.make_key()
    with _served(people) as url:
        own = ("--principal", PRINCIPAL, "--key", his.key, "--terms", his.terms)
        labels = [
            his.do("cleanroom", "query", url, file, *own, named=True)["labels"][0] for file in files
        ]
        spent = his.try_("cleanroom", "query", url, files[0], *own, named=True)
        others = ("--principal", PRINCIPAL, "--key", operator.key, "--terms", operator.terms)
        other = operator.try_("cleanroom", "query", url, files[0], *others, named=True)
    hers = people.model_owner
    told = hers.do("cleanroom", "budget", hers.room, "--key", hers.key)
    return Asked(
        answered=len(labels),
        right=sum(a == b for a, b in zip(labels, material.query_labels, strict=False)),
        spent=int(told["principals"][PRINCIPAL]["spent"]),
        attempts=(
            {"party": DATA_OWNER, "what": "asks once more than agreed", "code": spent.code},
            {"party": OPERATOR, "what": "asks in the data owner's name", "code": other.code},
        ),
    )


@contextmanager
def _served(people: People) -> Iterator[str]:
    operator = people.operator
    log = operator.folder / "serve.log"
    serve: list[str | Path] = ["cleanroom", "serve", operator.room, "--domain", operator.domain]
    for name in ("model", "recipe"):
        serve += ["--volume", f"{name}={people.stores / name}"]
    with running(serve, folder=operator.folder, log=log) as process:
        yield f"https://127.0.0.1:{_port(process, log)}"


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        found = _LISTENS.search(log.read_text(errors="replace"))
        if found is not None:
            return int(found.group(1))
        time.sleep(0.1)
    raise UnavailableError(
        "the query enclave did not begin to listen",
        code="server.unreachable",
        detail=log.read_text(errors="replace")[-2000:],
    )
