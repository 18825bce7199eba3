"""`cloister model cut`, and the package that it leaves."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cli import settings
from cloister.crypto.digest import sha256
from cloister.errors import UnavailableError
from cloister.partition.leakage import ModelFacts
from cloister.partition.report import write_report
from cloister.testing.partition import sample_report
from unit.cli.conftest import Door

pytestmark = pytest.mark.frameworks("onnxruntime")


def onnx_model(classes: int = 8) -> bytes:
    """Two dense layers with a ReLU behind each: t0 to t4."""
    onnx = pytest.importorskip("onnx", reason="needs cloister[onnx]")
    helper, rng = onnx.helper, np.random.default_rng(3)
    nodes, constants = [], []
    for number, width in ((1, 8), (3, classes)):
        weights = rng.standard_normal((8, width)).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(weights, f"w{number}"))
        nodes += [
            helper.make_node(
                "MatMul", [f"t{number - 1}", f"w{number}"], [f"t{number}"], f"m{number}"
            ),
            helper.make_node("Relu", [f"t{number}"], [f"t{number + 1}"], f"r{number}"),
        ]
    ends = [
        helper.make_tensor_value_info(name, 1, ["n", width])
        for name, width in (("t0", 8), ("t4", classes))
    ]
    graph = helper.make_graph(nodes, "sample", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = made.SerializeToString()
    return data


@pytest.fixture
def desk(door: Door, monkeypatch: pytest.MonkeyPatch) -> Door:
    """The owner's desk: a model, its report, labels."""
    pytest.importorskip("onnxruntime", reason="needs cloister[onnx]")
    data = onnx_model()
    (door.folder / "digits.onnx").write_bytes(data)
    facts = ModelFacts(sha256=sha256(data), format="onnx", name="digits")
    report = sample_report(model=facts)
    (door.folder / "report.json").write_bytes(write_report(report))
    (door.folder / "labels.txt").write_text("".join(f"digit-{n}\n" for n in range(8)))
    return door


WORDS = ("model", "cut", "digits.onnx", "--report", "report.json", "--labels", "labels.txt",
         "--out", "exposed", "--volume", "secret")  # fmt: skip


def code_of(desk: Door, *words: str | Path) -> str | None:
    found = desk.call(*words)
    assert found.exit_code != 0
    return getattr(found.exception, "code", None)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_model_is_cut_sealed_and_checked(desk: Door) -> None:
    """From the model's file to a package whose two sides belong together."""
    made = desk.record(*WORDS, "--back", "3")
    assert made["front"] == {"position": 2, "tensors": ["t2"]}
    assert made["equality"]["worst"] == 0.0
    assert [part["role"] for part in made["parts"]] == ["front", "middle", "back"]
    assert sorted(files_below(desk.folder / "exposed")) == [
        "middle.onnx",
        "plan.cbor",
        "report.json",
    ]
    signer = made["signer"]
    assert signer == desk.bench.domain.owner.text
    words = ("model", "check", "exposed", "--signer", signer)
    assert desk.record(*words)["secret_checked"] is False
    checked = desk.record(*words, "--secret", "secret")
    assert checked["secret_checked"] is True
    assert checked["held"] == made["held"]
    [volume] = desk.record("keyservice", "status")["volumes"]
    assert (volume["id"], volume["kind"]) == (made["secret"]["id"], "model")


def test_a_mounted_volume_is_checked_as_a_folder(desk: Door) -> None:
    """What serving sees."""
    made = desk.record(*WORDS)
    desk.record("volume", "open", "secret", "mounted")
    words = ("model", "check", "exposed", "--signer", made["signer"], "--secret", "mounted")
    assert desk.record(*words)["secret_checked"] is True
    (desk.folder / "mounted" / "front.onnx").write_bytes(b"another")
    assert code_of(desk, *words) == "package.tampered"


def test_nothing_secret_is_left_in_plain(desk: Door) -> None:
    """Neither the front's weights nor labels are in any file that cutting made."""
    desk.record(*WORDS, "--back", "3")
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model_from_string(onnx_model())
    weights = {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}
    exposed = b"".join(files_below(desk.folder / "exposed").values())
    sealed = b"".join(files_below(desk.folder / "secret").values())
    assert weights["w3"] in exposed
    for secret in (weights["w1"], b"digit-3"):
        assert secret not in exposed
        assert secret not in sealed


def test_people_get_tables_and_warnings(desk: Door) -> None:
    """What is secret, what held, and what is open."""
    found = desk.call(*WORDS)
    assert found.exit_code == 0, found.output
    for text in ("digits.onnx, cut at 2", "exposed", "decoder.ssim-gain.high<=0.5", "0.36",
                 "the same bits, on 8 random inputs", "signed by"):  # fmt: skip
        assert text in found.stdout
    assert "no back part" in found.stderr
    assert "knock-off" in found.stderr
    checked = desk.call(
        "model", "check", "exposed", "--signer", desk.bench.domain.owner.text, "--secret", "secret"
    )
    assert "whole, with 8 labels" in checked.stdout


def test_the_next_commands_ask_what_was_asked_here(desk: Door) -> None:
    """Whoever copies them checks and serves with the thresholds of the cut, not with the default's.

    Names of folders and thresholds are quoted for a shell.
    """
    own = "decoder.ssim.worst_decile<=0.4"
    found = desk.call(*WORDS[:-1], "my secret", "--require", own)
    assert found.exit_code == 0, found.output
    signer = desk.bench.domain.owner.text
    said = {line[:8]: line[16:] for line in found.stdout.splitlines() if " it   " in line}
    assert shlex.split(said["check it"])[1:] == [
        *("model", "check", "exposed", "--signer", signer, "--require", own),
    ]
    assert said["serve it"].startswith(
        f"cloister serve 'my secret' --package --signer {signer} --require '{own}' --middle "
    )
    assert desk.call(*shlex.split(said["check it"])[1:]).exit_code == 0


def test_the_default_is_not_said_to_a_check(desk: Door) -> None:
    """It is its default too; a server must name it."""
    found = desk.call(*WORDS)
    signer = desk.bench.domain.owner.text
    assert f"cloister model check exposed --signer {signer}\n" in found.stdout
    assert "--require default --middle" in found.stdout


def test_a_key_of_ones_own_signs(desk: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked under that key, refused under another."""
    public = desk.record("key", "new", "mine.key")["public"]
    monkeypatch.setattr(settings, "owner", lambda _domain, _key=None: desk.owner)
    assert desk.record(*WORDS, "--key", "mine.key")["signer"] == public
    assert desk.record("model", "check", "exposed", "--signer", public)["signer"] == public
    other = desk.bench.domain.owner.text
    assert code_of(desk, "model", "check", "exposed", "--signer", other) == "package.signer"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--front", "1"), "model.refused"),
        (("--front", "x"), "config.value"),
        (("--back", "1"), "config.value"),
        (("--require", "decoder.ssim.worst_decile<=0.1"), "model.refused"),
        (("--require", "decoder.ssim.worst_decile"), "config.value"),
        (("--report", "digits.onnx"), "report.malformed"),
        (("--report", "none.json"), "config.file"),
        (("--labels", "digits.onnx"), "config.value"),
        (("--labels", "none.txt"), "config.file"),
        (("--out", "."), "config.exists"),
        (("--volume", "report.json"), "config.exists"),
    ],
)
def test_what_is_refused_leaves_nothing(desk: Door, more: tuple[str, ...], code: str) -> None:
    """No folder, no volume, and the key service knows of none."""
    assert code_of(desk, *WORDS, *more) == code
    assert not (desk.folder / "exposed").exists()
    assert not (desk.folder / "secret").exists()
    assert desk.record("keyservice", "status")["volumes"] == []


def test_without_a_key_service_nothing_is_begun(
    desk: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume's key would have no keeper: known before anything is cut."""

    def down() -> None:
        raise UnavailableError("it does not answer", code="keyservice.unreachable")

    monkeypatch.setattr(desk.owner.client, "status", down)
    monkeypatch.setattr(settings, "owner", lambda _domain, _key=None: desk.owner)
    assert code_of(desk, *WORDS) == "keyservice.unreachable"
    assert not (desk.folder / "secret").exists()


def test_the_number_that_failed_is_named(desk: Door) -> None:
    """For programs: rule, expected, found."""
    desk.record(*WORDS)
    words: tuple[Any, ...] = ("model", "check", "exposed", "--signer", desk.bench.domain.owner.text)
    found = desk.call(*words, "--require", "decoder.ssim.worst_decile<=0.3")
    record = found.exception.as_record()  # type: ignore[union-attr]  # ours, by its type above
    assert (record["code"], record["rule"]) == ("model.refused", "decoder.ssim.worst_decile")
    assert str(record["found"]).startswith("0.31")


def test_a_report_of_another_model_is_refused(desk: Door) -> None:
    """Measured numbers are about one file."""
    report = sample_report()
    other = replace(report, model=replace(report.model, sha256=bytes(32)))
    (desk.folder / "report.json").write_bytes(write_report(other))
    assert code_of(desk, *WORDS) == "config.value"


def test_a_model_that_would_run_code_is_trusted_first(desk: Door) -> None:
    """A program of PyTorch's is not even loaded without the word."""
    (desk.folder / "digits.pt2").write_bytes(b"PK\x03\x04")
    words = [word if word != "digits.onnx" else "digits.pt2" for word in WORDS]
    assert code_of(desk, *words) == "model.unsafe"
