"""`cloister query`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cloister import inference
from cloister.cli.query import read_array, typed
from cloister.errors import ConfigError
from cloister.inference.tensor import TensorSpec
from unit.cli.conftest import Door


class FakeClient:
    """Doubles what it is asked; its outputs are named by the model's name."""

    peer = SimpleNamespace(
        identity=SimpleNamespace(uri="spiffe://x/y"), policy_hash=b"p" * 32, hardware_rooted=False
    )

    def __init__(self, _url: str, *, model: str | None, **_: Any) -> None:
        self.model = model

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def describe(self) -> Any:
        names = ("x", "y") if self.model == "two" else ("x",)
        return SimpleNamespace(inputs=tuple(TensorSpec(name, "FP32", (-1,)) for name in names))

    def predict(self, inputs: Any) -> Any:
        given = list(inputs.values()) if isinstance(inputs, dict) else [inputs]
        answer = sum(np.asarray(each) for each in given) * 2
        if self.model == "typed":
            assert all(each.dtype == np.float32 for each in given)
        if self.model == "endless":
            return answer * np.array([np.nan, np.inf, -np.inf])
        if self.model == "texts":
            return np.array(["0.5:1:ein"], object)
        return {"a": answer, "b": answer} if self.model == "two" else answer


@pytest.fixture(autouse=True)
def _fake_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "Client", FakeClient)


_ASK = ("query", "https://127.0.0.1:1", "in.npy", "--identity", "spiffe://x/*")


def test_the_answer_names_the_peer_and_that_it_is_simulated(door: Door) -> None:
    """For machines and for people."""
    np.save(door.folder / "in.npy", np.array([1, 2]))
    found = door.record(*_ASK)
    assert found["outputs"] == {"output": [2, 4]}
    assert (found["peer"], found["hardware_rooted"]) == ("spiffe://x/y", False)
    said = door.call(*_ASK, "--output", "out.npy")
    assert "[2 4]" in said.stdout
    assert "SIMULATED" in said.stderr
    assert np.load(door.folder / "out.npy").tolist() == [2, 4]


def test_several_outputs_do_not_fit_in_one_file(door: Door) -> None:
    """They are not guessed at."""
    np.save(door.folder / "in.npy", np.array([1]))
    found = door.call(*_ASK, "--model", "two", "--output", "out.npy")
    assert getattr(found.exception, "code", None) == "config.value"


def test_classes_are_shown_and_not_written_as_numbers(door: Door) -> None:
    """A file of objects would be a pickle."""
    np.save(door.folder / "in.npy", np.array([1]))
    found = door.record(*_ASK, "--model", "texts")
    assert found["outputs"] == {"output": ["0.5:1:ein"]}
    assert "0.5:1:ein" in door.call(*_ASK, "--model", "texts").stdout
    refused = door.call(*_ASK, "--model", "texts", "--output", "out.npy")
    assert getattr(refused.exception, "code", None) == "config.value"
    assert not (door.folder / "out.npy").exists()


def test_input_is_an_array_or_lists(tmp_path: Path) -> None:
    """Anything else, and above all a pickle, is refused."""
    (tmp_path / "a.json").write_text("[[1, 2], [3, 4]]")
    assert read_array(tmp_path / "a.json").shape == (2, 2)
    for number, array in enumerate([np.float16(1.5), np.eye(3, order="F"), np.zeros((0, 2), "u1")]):
        np.save(tmp_path / f"{number}.npy", array)
        found = read_array(tmp_path / f"{number}.npy")
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array)
    np.save(tmp_path / "b.npy", np.array([object()]), allow_pickle=True)
    (tmp_path / "empty.npy").touch()
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4")
    np.savez_compressed(tmp_path / "damaged.npz", x=np.arange(1000))
    packed = bytearray((tmp_path / "damaged.npz").read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(packed)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000,), }"
    (tmp_path / "vast.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    )
    for name in ("b.npy", "none.npy", "empty.npy", "broken.npz", "damaged.npz", "vast.npy"):
        with pytest.raises(ConfigError) as caught:
            read_array(tmp_path / name)
        assert caught.value.code == "config.file"
        assert "allow_pickle" not in caught.value.public


def test_arrays_by_name_are_an_archive(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `numpy.savez` writes them; together they are no larger than a file may be."""
    np.savez_compressed(door.folder / "in.npz", x=np.ones(1), y=np.ones(1))
    ask = ("query", "https://127.0.0.1:1", "in.npz", "--identity", "spiffe://x/*")
    assert door.record(*ask, "--model", "two")["outputs"] == {"a": [4.0], "b": [4.0]}
    np.savez_compressed(tmp_path / "large.npz", x=np.zeros(10_000))
    monkeypatch.setattr("cloister.cli.query._MAX_INPUT_BYTES", 10_000)
    with pytest.raises(ConfigError, match="larger"):
        read_array(tmp_path / "large.npz")


def test_whose_domain_file_it_is_can_be_said(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only asks has no trust domain of his own."""
    given: dict[str, Any] = {}

    def client(url: str, **more: Any) -> FakeClient:
        given.update(more)
        return FakeClient(url, model=more["model"])

    monkeypatch.setattr(inference, "Client", client)
    np.save(door.folder / "in.npy", np.array([1]))
    door.record(*_ASK, "--trust", "theirs.json")
    assert given["trust"] == Path("theirs.json")


def test_numbers_in_json_are_of_the_type_that_the_model_takes(door: Door) -> None:
    """JSON says no type; and lists by name are for models with several inputs."""
    ask = ("query", "https://127.0.0.1:1", "in.json", "--identity", "spiffe://x/*", "--model")
    (door.folder / "in.json").write_text("[0.5, 2]")
    assert door.record(*ask, "typed")["outputs"] == {"output": [1.0, 4.0]}
    (door.folder / "in.json").write_text('{"x": [0.5], "y": [1]}')
    assert door.record(*ask, "two")["outputs"] == {"a": [3.0], "b": [3.0]}


@pytest.mark.parametrize(
    ("said", "datatype"),
    [
        ([1e39], "FP32"),
        ([70000], "FP16"),
        ([float("nan")], "FP32"),
        ([256], "UINT8"),
        ([-1], "UINT8"),
        ([1.5], "INT64"),
        ([1], "BOOL"),
        ([True], "FP32"),
        (["1"], "FP32"),
        ([[1], [1, 2]], "FP32"),
        ([1, [1, 2]], "FP32"),
        ([[[1, 2], [3, 4]], [[1], [2]]], "FP32"),
        ({"z": [1]}, "FP32"),
        ({"x": [1], "z": [1]}, "FP32"),
        ({"x": {"x": [1]}}, "FP32"),
    ],
)
def test_what_is_no_number_of_the_type_is_refused(said: Any, datatype: str) -> None:
    """Overflow, fractions where integers are wanted, other kinds, crooked lists, other names."""
    with pytest.raises(ConfigError) as caught:
        typed(said, [TensorSpec("x", datatype, (-1,))])
    assert caught.value.code == "config.value"


def test_types_and_shapes_of_json_lists() -> None:
    """Every type has a form here, FP16 too; a number alone has no axis."""
    for datatype in ("FP16", "FP64", "INT8", "UINT64"):
        found = typed([[1, 2]], [TensorSpec("x", datatype, (-1, 2))])
        assert (found.shape, found.tolist()) == ((1, 2), [[1, 2]])
    assert typed([True], [TensorSpec("x", "BOOL", (-1,))]).tolist() == [True]
    alone = typed({"x": 0.1}, [TensorSpec("x", "FP32", ())])["x"]
    assert (alone.shape, alone) == ((), np.float32(0.1))
    with pytest.raises(ConfigError, match="by name: x, y") as caught:
        typed([1], [TensorSpec("x", "FP32", (-1,)), TensorSpec("y", "FP32", (-1,))])
    assert "object" in (caught.value.hint or "")


def test_an_answer_without_axes_is_shown(door: Door) -> None:
    """Such as one number for a whole batch."""
    np.save(door.folder / "in.npy", np.float32(3))
    assert "6." in door.call(*_ASK).stdout


def test_what_json_cannot_say_is_a_text(door: Door) -> None:
    """Readers of JSON refuse a bare NaN."""
    np.save(door.folder / "in.npy", np.array([1.0, 1.0, 1.0]))
    found = door.record(*_ASK, "--model", "endless")
    assert found["outputs"] == {"output": ["NaN", "Infinity", "-Infinity"]}
