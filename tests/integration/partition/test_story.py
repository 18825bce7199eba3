"""From a model to answers by commands alone: assess, cut, check, serve, ask; and a lying middle.

The network tells even digits from odd ones. Behind its first convolution images can be read; behind
the one number that it comes down to they cannot.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from integration.cli.desk import Desk, Done
from integration.cli.test_serve import free_port
from integration.partition.served_cut import middle_process, served

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.jobs,
    pytest.mark.frameworks("tensorflow", "sklearn", "h5py"),
    pytest.mark.timeout(2400),
]
pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

TRAINER: Final = Path(__file__).with_name("parity_model.py")
EARLY, BOTTLENECK, LAST = "1", "4", "6"
# More than it takes: what is short of time is undecided, and a busy machine makes it short.
BUDGET_S: Final = 3600
SLOW_S: Final = 1500.0


@dataclass(frozen=True)
class Owner:
    """A desk with a model that was assessed and cut.

    Attributes:
        desk: Where commands are typed.
        assessed: What `cloister model assess` said.
        signer: Whose package it is.
    """

    desk: Desk
    assessed: dict[str, Any]
    signer: str

    def cut(self, front: str, *, to: str) -> Done:
        """Cut behind a position; the exposed part ends before the last layer."""
        return self.desk.json(
            "model", "cut", "parity.keras", "--report", "report.json", "--front", front,
            "--back", LAST, "--labels", "labels.txt", "--out", f"exposed-{to}",
            "--volume", f"sealed/{to}", timeout_s=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    """Train, assess two cuts, and cut at the one that passes."""
    desk = Desk(tmp_path_factory.mktemp("owner"))
    subprocess.run(
        [sys.executable, TRAINER, desk.folder],
        check=True,
        timeout=SLOW_S,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    (desk.folder / "labels.txt").write_text("an even digit\nan odd digit\n")
    desk.run("init", "--name", "example.org").good()
    try:
        assessed = desk.json(
            "model", "assess", "parity.keras", "--sample", "sample.npz", "--proxy", "public.npz",
            "--ends", "0:1", "--seconds", str(BUDGET_S), "--steps", "300",
            "--cuts", f"{EARLY},{BOTTLENECK}", "--backs", LAST, "--out", "report.json",
            "--page", "report.html", timeout_s=SLOW_S,
        )  # fmt: skip
        found = Owner(desk, assessed.good().record, "")
        made = found.cut("recommended", to="model").good().record
        yield Owner(desk, found.assessed, made["signer"])
    finally:
        desk.stop_service()


def test_images_behind_the_first_layer_can_be_read_and_behind_the_bottleneck_not(
    owner: Owner,
) -> None:
    """By attacks that were run to their end; the recommended cut is the one that is safe."""
    verdicts = {cut["position"]: cut["verdict"] for cut in owner.assessed["cuts"]}
    assert verdicts == {int(EARLY): "unsafe", int(BOTTLENECK): "safe"}, owner.assessed["cuts"]
    assert owner.assessed["complete"]
    assert owner.assessed["recommended"] == int(BOTTLENECK)


def test_what_does_not_pass_is_refused_with_the_number_that_failed(owner: Owner) -> None:
    """An early cut is not made; a package that passed is not taken by somebody who asks more."""
    early = owner.cut(EARLY, to="early")
    assert early.code == "model.refused"
    assert re.search(r"unsafe: .* got [01]\.\d\d of the way", early.error["found"])
    assert not (owner.desk.folder / "exposed-early").exists()
    assert not (owner.desk.folder / "sealed" / "early").exists()
    words = ("model", "check", "exposed-model", "--signer", owner.signer)
    assert owner.desk.json(*words, "--secret", "sealed/model").good().record["secret_checked"]
    strict = owner.desk.json(*words, "--require", "decoder.ssim-gain.high<=0.01")
    assert strict.code == "model.refused"
    assert re.match(r"0\.\d+, by an attacker", strict.error["found"])


def test_a_cut_model_answers_as_the_whole_and_a_lying_middle_gets_nothing(owner: Owner) -> None:
    """The middle is a process of its own, reached by its name in the policy and never believed."""
    desk, port = owner.desk, free_port()
    right = np.load(desk.folder / "answers.npy")
    with served(desk, signer=owner.signer, middle=port) as (url, identity):
        words = ("query", url, "questions.npy", "--identity", identity)
        with middle_process(desk, port):
            found = desk.json(*words).good().record["outputs"]
            (answers,) = found.values()
            np.testing.assert_allclose(np.asarray(answers), right, atol=1e-5)
        (desk.folder / "lie.json").write_text(json.dumps({"lie": "swap"}))
        with middle_process(desk, port, liar=True):
            refused = desk.json(*words, "--output", "answer.npy")
            assert refused.status != 0
            assert set(refused.record) == {"error"}
            assert not (desk.folder / "answer.npy").exists()
        assert desk.json(*words).status != 0  # nobody is there
        with middle_process(desk, port):
            desk.json(*words, "--output", "answer.npy").good()
        np.testing.assert_allclose(np.load(desk.folder / "answer.npy"), right, atol=1e-5)


def test_whoever_asks_in_private_gets_the_best_class_by_its_secret_name(owner: Owner) -> None:
    """In an envelope for the server alone; no score leaves but the best one's."""
    desk, port = owner.desk, free_port()
    public = desk.json("key", "new", "alice.key").good().record["public"]
    private = ("--option=--private", f"--option=--asker=alice={public}", "--top", "1")
    with (
        served(desk, *private, signer=owner.signer, middle=port) as (url, identity),
        middle_process(desk, port),
    ):
        hashed = desk.run("policy", "hash", "serve-1.yaml").good().stdout.strip()
        done = desk.json(
            "query", url, "questions.npy", "--identity", identity, "--private", "--policy", hashed,
            "--principal", "alice", "--key", "alice.key",
        )  # fmt: skip
        (answers,) = done.good().record["outputs"].values()
    names = (desk.folder / "labels.txt").read_text().splitlines()
    best = np.load(desk.folder / "answers.npy").argmax(axis=1)
    assert [text.split(":")[2] for (text,) in answers] == [names[n] for n in best]
