"""The story, stage by stage. Each stage does what its role would type, and notes what it proved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloister.cli.demo import attacks, operator
from cloister.cli.demo.capture import Capture
from cloister.cli.demo.domain import found
from cloister.cli.demo.material import (
    SCRIPT,
    Material,
    copy_store,
    read_metrics,
    weight_markers,
)
from cloister.cli.demo.places import Places
from cloister.cli.demo.programs import cloister, free_port, running, wait_for_port
from cloister.cli.draft import DraftWords, WorkloadWords, draft_from_words
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.transport import HTTPTransport
from cloister.launcher.local import local_facts
from cloister.launcher.owner import Owner

__all__ = ["Facts", "Story"]

DOMAIN_NAME: Final = "demo.cloister.local"
POLICY_NAME: Final = "digits"
MODEL: Final = "digits"
MODEL_FILE: Final = "digits.tflite"

Announce = Callable[[str], None]


@dataclass(slots=True)
class Facts:
    """What was proved, filled in stage by stage."""

    accuracy: float = 0.0
    predictions_equal: bool = False
    hardware_rooted: bool = False
    plaintext_hits: int = -1
    plaintext_found: list[dict[str, str]] = field(default_factory=list)
    searched_bytes: int = 0
    captured_bytes: int = 0
    found_without_protection: list[str] = field(default_factory=list)
    attacks: dict[str, dict[str, object]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "accuracy": self.accuracy,
            "predictions_equal": self.predictions_equal,
            "hardware_rooted": self.hardware_rooted,
            "plaintext_hits": self.plaintext_hits,
            "plaintext_found": self.plaintext_found,
            "searched_bytes": self.searched_bytes,
            "captured_bytes": self.captured_bytes,
            "found_without_protection": self.found_without_protection,
            "attacks": self.attacks,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    @property
    def proved(self) -> bool:
        """True where everything that the demonstration claims was seen to hold."""
        return (
            self.accuracy > 0.97  # noqa: PLR2004  # the issue's bar
            and self.predictions_equal
            and self.plaintext_hits == 0
            and set(self.found_without_protection) == {"data", "code", "weights", "query"}
            and bool(self.attacks)
            and all(attack["refused"] for attack in self.attacks.values())
        )


class Story:
    """One run of the demonstration in a folder of its own."""

    def __init__(self, root: Path, *, announce: Announce) -> None:
        """Use an empty folder; `announce` is told of each stage as it begins."""
        self.places = Places(root)
        self.facts = Facts()
        self._announce = announce
        self._began_ns = time.time_ns()
        self._keyservice_port = free_port()
        self._serving_port = free_port()

    def tell(self) -> Facts:
        """Run every stage; return what was proved."""
        capture = Capture()
        with ExitStack() as stack:
            with self._stage("trust domain and key service"):
                self._found(stack)
            with self._stage("seal data and script"):
                material, owner = self._seal()
            with self._stage("write and apply the policy"):
                self._apply(owner)
            with self._stage("attested training"):
                old = self._train()
            with self._stage("attested serving and a private prediction"):
                answer = self._ask(material)
            with self._stage("compare with the unprotected model"):
                self._compare(owner, material, answer)
            with self._stage("attacks"):
                self._attack(material, owner, old, capture)
        with self._stage("the operator's view"):
            self._look(material, capture, answer)
        return self.facts

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._announce(name)
        began = time.monotonic()
        yield
        self.facts.seconds[name] = time.monotonic() - began

    def _found(self, stack: ExitStack) -> None:
        places = self.places
        places.make()
        found(places, DOMAIN_NAME, port=self._keyservice_port)
        log = places.machine / "keyservice.log"
        address = f"127.0.0.1:{self._keyservice_port}"
        serve: list[str | Path] = [
            "keyservice",
            "serve",
            "--domain",
            places.domain,
            "--listen",
            address,
        ]
        process = stack.enter_context(running(serve, folder=places.machine, log=log))
        wait_for_port(self._keyservice_port, process, log=log)

    def _seal(self) -> tuple[Material, Owner]:
        places = self.places
        material = Material.make(places)
        domain = TrustDomain.load(places.owner / "domain")
        owner = Owner(domain, HTTPTransport(domain.url), clock=read_clock)
        owner.seal(places.data, places.sealed / "data", kind="data", progress=lambda _: None)
        owner.seal(places.code, places.sealed / "code", kind="code", progress=lambda _: None)
        owner.create(places.sealed / "model", kind="model")
        return material, owner

    def _apply(self, owner: Owner) -> None:
        places = self.places
        facts = local_facts(
            TrustDomain.load(places.domain).platform(),
            program="python",
            cache_directory=places.domain / "platform",
            at=read_clock().at,
            progress=lambda _done, _total: None,
        )
        text = draft_from_words(self._words(), facts)
        places.policy.write_text(text, encoding="utf-8")
        owner.apply(parse_policy(text.encode(), source=places.policy.name))

    def _words(self) -> DraftWords:
        sealed = self.places.sealed
        return DraftWords(
            name=POLICY_NAME,
            namespace="default",
            code=sealed / "code",
            workloads={
                "train": WorkloadWords(
                    command=f"python /code/{SCRIPT} /data/digits.npz /model",
                    volumes=(f"/data={sealed}/data:read", f"/model={sealed}/model:write"),
                    environment=("TF_CPP_MIN_LOG_LEVEL=2",),
                ),
                "serve": WorkloadWords(
                    command=f"python -m cloister.inference.server --model /model/{MODEL_FILE} "
                    f"--name {MODEL}",
                    volumes=(f"/model={sealed}/model:latest",),
                    listen=(f"predict={self._serving_port}",),
                    any_client="the demonstration's client shows no certificate",
                ),
                "inspect": WorkloadWords(
                    command="python /code/inspect_data.py /data",
                    volumes=(f"/data={sealed}/data:read", f"/model={sealed}/model:latest"),
                ),
            },
            logs="pass",
            predecessor="none",
            base=self.places.machine,
        )

    def _train(self) -> Path:
        """Train, after the operator has put a copy of the empty model volume aside."""
        places = self.places
        old = copy_store(places.sealed / "model", places.machine / "old-model")
        self._run("train").require()
        return old

    def _run(self, workload: str, *more: str | Path) -> Any:
        places = self.places
        arguments: list[str | Path] = ["run", places.policy, "--workload", workload]
        arguments += ["--domain", places.domain]
        return cloister([*arguments, "--json", *more], folder=places.machine)

    @contextmanager
    def _served(self) -> Iterator[None]:
        places = self.places
        log = places.machine / "serve.log"
        serve: list[str | Path] = [
            "run",
            places.policy,
            "--workload",
            "serve",
            "--domain",
            places.domain,
        ]
        with running(serve, folder=places.machine, log=log) as process:
            wait_for_port(self._serving_port, process, log=log)
            yield

    def _ask(self, material: Material) -> Any:
        from cloister.inference import Client  # loads numpy

        with (
            self._served(),
            Client(
                f"https://127.0.0.1:{self._serving_port}",
                trust=self.places.client / "domain.json",
                identity=f"spiffe://{DOMAIN_NAME}/default/{POLICY_NAME}/serve/*",
            ) as client,
        ):
            answer = client.predict(material.query)
            self.facts.hardware_rooted = client.peer.hardware_rooted
        return answer

    def _compare(self, owner: Owner, material: Material, answer: Any) -> None:
        """Open the model on the owner's machine; run it there without any protection."""
        from cloister.cli.demo.comparison import predict_plain
        from cloister.volume.seal import extract_tree

        results = self.places.owner / "results"
        with owner.reading(self.places.sealed / "model") as filesystem:
            extract_tree(filesystem, results, progress=lambda _: None)
        model = results / MODEL_FILE
        material.markers["weights"] = weight_markers(model)
        plain = predict_plain(model, material.query)
        equal = plain.dtype == answer.dtype and plain.tobytes() == answer.tobytes()
        self.facts.predictions_equal = equal
        self.facts.accuracy = float(read_metrics(results)["accuracy"])

    def _attack(self, material: Material, owner: Owner, old: Path, capture: Capture) -> None:
        scene = attacks.Scene(
            places=self.places,
            policy_name=POLICY_NAME,
            run=self._run,
            owner=owner,
            old_model=old,
            capture=capture,
            script=material.markers["code"][0],
        )
        for name, attack in attacks.ATTACKS.items():
            self._announce(f"attack: {name}")
            code = attack(scene)
            self.facts.attacks[name] = {"refused": bool(code), "code": code}

    def _look(self, material: Material, capture: Capture, answer: Any) -> None:
        markers = material.markers | {"answer": [answer.tobytes()[:160]]}
        seen = operator.look(
            self.places, capture, markers, since_ns=self._began_ns, query=material.query
        )
        self.facts.plaintext_hits = len(seen.protected.findings)
        self.facts.plaintext_found = [
            {"secret": finding.secret, "where": finding.where}
            for finding in seen.protected.findings
        ]
        self.facts.searched_bytes = seen.protected.searched_bytes
        self.facts.captured_bytes = seen.captured_bytes
        wanted = sorted(seen.unprotected.secrets_found & set(material.markers))
        self.facts.found_without_protection = wanted
