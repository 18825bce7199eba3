"""The story, stage by stage: what two owners and an operator type, and what each then has."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from cloister.cleanroom.agreement import load_room
from cloister.cleanroom.exchange_message import message_bytes
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.terms import Terms
from cloister.cleanroom.terms_text import parse_terms, terms_to_text
from cloister.cli.cleanroom_demo.asking import LIMIT, PRINCIPAL, ask
from cloister.cli.cleanroom_demo.attempts import AFTERWARDS, ATTEMPTS, Attempt, spy
from cloister.cli.cleanroom_demo.facts import Facts
from cloister.cli.cleanroom_demo.looking import look
from cloister.cli.cleanroom_demo.material import EXAMPLES, Material, find_framework
from cloister.cli.cleanroom_demo.people import (
    DATA_OWNER,
    MODEL_OWNER,
    People,
    slug,
)
from cloister.cli.demo.capture import Capture
from cloister.cli.demo.programs import free_port, running, wait_for_port
from cloister.errors import CloisterError

__all__ = ["Story", "demonstration_terms"]

DOMAIN_NAME: Final = "demo.cloister.local"
SPACE: Final = "rooms/digits"
_JOB: Final = "job"

Announce = Callable[[str], None]


class Story:
    """One run of the demonstration in a folder of its own."""

    def __init__(self, root: Path, *, announce: Announce) -> None:
        """Use an empty folder; `announce` is told of each stage as it begins."""
        self.people = People(root)
        self.facts = Facts(framework=find_framework())
        self._material = Material.make()
        self._announce = announce
        self._keys: dict[str, str] = {}
        self._began_ns = time.time_ns()
        self._port = free_port()

    def tell(self) -> Facts:
        """Run every stage; return what was seen."""
        capture = Capture()
        people = self.people
        with ExitStack() as stack:
            with self._stage("a key service, and a namespace that both owners govern"):
                self._found(stack)
            with self._stage("each owner seals what is hers or his"):
                self._seal()
            with self._stage("terms: drafted, offered, accepted by both"):
                self._agree()
            with self._stage("training, and what is tried meanwhile"):
                self._train()
            with self._stage("reports and receipt"):
                self._read()
            with self._stage("the model is asked, until no query is left"):
                self._ask()
            with self._stage("the end of the room"):
                self._end()
        with self._stage("who has what"):
            room = load_room(people.operator.terms)
            weights, pieces = self._material.model(room, people.model_owner.folder / "recipe")
            plain = {
                "records": self._material.x.tobytes(),
                "recipe": self._material.recipe,
                "model": weights,
                "queries": self._material.queries.tobytes(),
            }
            markers = self._material.markers | {"model": pieces}
            seen = look(people, capture, markers, plain, since_ns=self._began_ns)
        self.facts.found = {
            party: {each.secret: _place(each.where, people) for each in search.findings}
            for party, search in seen.found.items()
        }
        self.facts.unprotected = sorted(seen.unprotected.secrets_found)
        self.facts.searched_bytes = seen.searched_bytes
        self.facts.captured_bytes = seen.captured_bytes
        return self.facts

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._announce(name)
        began = time.monotonic()
        yield
        self.facts.seconds[name] = time.monotonic() - began

    def _found(self, stack: ExitStack) -> None:
        operator = self.people.operator
        self.people.found(DOMAIN_NAME, port=self._port)
        log = operator.folder / "keyservice.log"
        serve: list[str | Path] = ["keyservice", "serve", "--domain", operator.domain]
        serve += ["--listen", f"127.0.0.1:{self._port}"]
        process = stack.enter_context(running(serve, folder=operator.folder, log=log))
        keys = _together(self.people.model_owner.make_key, self.people.data_owner.make_key)
        self._keys = dict(zip((MODEL_OWNER, DATA_OWNER), keys, strict=True))
        wait_for_port(self._port, process, log=log)
        approvers = [word for key in keys for word in ("--approver", key)]
        operator.do("namespace", "draft", SPACE, "-k", "2", *approvers, named=True)
        operator.do("namespace", "apply", operator.folder / "charter.yaml")

    def _seal(self) -> None:
        people, stores = self.people, self.people.stores
        recipe, records = people.model_owner.folder / "recipe", people.data_owner.folder / "records"
        self._material.write_recipe(recipe)
        self._material.write_records(records)
        space = ("--namespace", SPACE)

        def hers() -> None:
            owner = people.model_owner
            owner.do("volume", "seal", recipe, stores / "recipe", *space, "--kind", "recipe")
            owner.do("volume", "create", stores / "model", *space, "--kind", "model")
            report = stores / f"report-{slug(MODEL_OWNER)}"
            owner.do("volume", "create", report, *space, "--kind", "report")

        def his() -> None:
            owner = people.data_owner
            owner.do("volume", "seal", records, stores / "records", *space, "--kind", "records")
            report = stores / f"report-{slug(DATA_OWNER)}"
            owner.do("volume", "create", report, *space, "--kind", "report")

        _together(hers, his)

    def _agree(self) -> None:
        """The operator writes down facts of his machines; the owners read, change and sign."""
        people, stores = self.people, self.people.stores
        hers, his, operator = people.model_owner, people.data_owner, people.operator
        digest = hers.do("cleanroom", "digest", hers.folder / "recipe", named=True)["digest"]
        draft = operator.folder / "draft.yaml"
        operator.do(
            "cleanroom", "draft", "--name", "digits", "--namespace", SPACE,
            "--model-owner", self._keys[MODEL_OWNER], "--data-owner", self._keys[DATA_OWNER],
            "--shard", f"{stores / 'records'}={EXAMPLES}", "--shape", "8,8", "--classes", "10",
            "--recipe", stores / "recipe", "--recipe-digest", digest, "--model", stores / "model",
            "--model-owner-report", stores / f"report-{slug(MODEL_OWNER)}",
            "--data-owner-report", stores / f"report-{slug(DATA_OWNER)}",
            "--principal", f"{PRINCIPAL}={self._keys[DATA_OWNER]}",
            "--framework", self.facts.framework, "--output", draft,
        )  # fmt: skip
        terms = demonstration_terms(parse_terms(draft.read_bytes(), source=draft.name))
        (hers.folder / "terms.yaml").write_text(terms_to_text(terms), encoding="utf-8")
        offer = hers.folder / "room.offer"
        words = ("--key", hers.key, "--output", offer)
        hers.do("cleanroom", "offer", hers.folder / "terms.yaml", *words)
        his.do("cleanroom", "accept", offer, "--key", his.key, "--room", his.room)
        signed = his.terms
        hers.do("cleanroom", "accept", signed, "--key", hers.key, "--room", hers.room)
        shutil.copyfile(hers.room / "closing.model-owner.txt", his.room / "closing.model-owner.txt")
        shutil.copytree(his.room, operator.room)
        rules = RoundRules.of(load_room(operator.terms))
        self.facts.message_bytes = message_bytes(rules)
        self.facts.messages = rules.schedule.ticks
        self.facts.limit = terms.queries.limit

    def _train(self) -> None:
        operator, stores = self.people.operator, self.people.stores
        places = {
            "shard-0": stores / "records",
            "recipe": stores / "recipe",
            "model": stores / "model",
            "report-model-owner": stores / f"report-{slug(MODEL_OWNER)}",
            "report-data-owner": stores / f"report-{slug(DATA_OWNER)}",
        }
        volumes = [word for name, at in places.items() for word in ("--volume", f"{name}={at}")]
        job = operator.folder / _JOB

        def train() -> Mapping[str, Any]:
            return operator.do("cleanroom", "train", operator.room, *volumes, "--job", job)

        with ThreadPoolExecutor(1) as pool:
            training = pool.submit(train)
            for attempt in ATTEMPTS:
                self._try(attempt)
            self._announce("tried: a recipe that wants the records out")
            self.facts.spied = spy(
                self.people,
                load_room(operator.terms).terms,
                port=self._port,
            )
            self._announce("training goes on, as long as the terms say")
            training.result()
        self.facts.output_bytes = sum(map(_output_bytes, (job / "logs").iterdir()))

    def _try(self, attempt: Attempt) -> None:
        self._announce(f"tried: the {attempt.party} {attempt.what}")
        code = attempt.by(self.people)
        self.facts.attempts.append({"party": attempt.party, "what": attempt.what, "code": code})

    def _read(self) -> None:
        people, his = self.people, self.people.data_owner
        reports = _together(
            lambda: people.report_of(MODEL_OWNER), lambda: people.report_of(DATA_OWNER)
        )
        self.facts.rounds = reports[1]["entries"]
        self.facts.reports_equal = reports[0] == reports[1]
        people.model_owner.do(
            "volume", "open", people.stores / "model", people.model_owner.folder / "model"
        )
        job = shutil.copytree(people.operator.folder / _JOB, his.folder / _JOB)
        self._check_receipt(job)

    def _ask(self) -> None:
        found = ask(self.people, self._material)
        facts = self.facts
        facts.answered, facts.right, facts.spent = found.answered, found.right, found.spent
        facts.attempts += found.attempts

    def _end(self) -> None:
        his = self.people.data_owner
        his.do("cleanroom", "close", his.room, "--key", his.key)
        for attempt in AFTERWARDS:
            self._try(attempt)

    def _check_receipt(self, job: Path) -> None:
        """Have the data owner check the job's receipt, and read what it says of the model."""
        his, facts = self.people.data_owner, self.facts
        try:
            found = his.do(
                "audit", "receipt", job / "receipt.json", "--trust", his.room / "trust.json"
            )
        except CloisterError:
            return
        facts.receipt_holds = found["status"] == "done"
        facts.hardware_rooted = bool(found["hardware_rooted"])
        spent = [run for each in found["instances"] for run in each["spent"]]
        facts.exposure_tenths = max((run.get("exposure", 0) for run in spent), default=0)


def demonstration_terms(draft: Terms) -> Terms:
    """Return drafted terms with numbers for a few small records, and a training of half a minute.

    No privacy is asked for: noise on so few records would hide that something was learned.
    """
    training = dataclasses.replace(
        draft.training,
        rounds=8,
        parameters_max=20_000,
        plan_max_bytes=1 << 16,
        norm_max=Decimal(100),
        checkpoint_every=4,
        tick_ms=200,
        prepare_ticks=100,
        round_ticks=8,
        closing_ticks=10,
        join_s=90,
        seconds=240,
    )
    return dataclasses.replace(
        draft,
        training=training,
        cell=dataclasses.replace(draft.cell, memory_bytes=1 << 30, scratch_bytes=1 << 24),
        privacy=None,
        canaries=10,
        release=dataclasses.replace(
            draft.release, metrics=("loss", "accuracy", "exposure"), digits=2, every_rounds=2
        ),
        queries=dataclasses.replace(draft.queries, limit=LIMIT, tick_ms=1000),
    )


def _together(*functions: Callable[[], Any]) -> list[Any]:
    """Call functions at once; owners do not wait for each other."""
    with ThreadPoolExecutor(len(functions)) as pool:
        futures: list[Future[Any]] = [pool.submit(function) for function in functions]
        return [future.result() for future in futures]


def _place(where: str, people: People) -> str:
    """Return a file as people say it, or a connection as it is called."""
    path = Path(where)
    return str(path.relative_to(people.root)) if path.is_relative_to(people.root) else where


def _output_bytes(log: Path) -> int:
    """Return how much a program wrote; lines that the launcher adds itself do not count."""
    texts = (line.partition(" ")[2] for line in log.read_text().splitlines())
    return sum(len(text) + 1 for text in texts if not text.startswith("cloister: "))
