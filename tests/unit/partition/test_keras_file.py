"""Keras files: what is read of them, and what is refused before it is unpacked."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError, RefusedError
from cloister.partition.keras_file import read_keras_archive, read_keras_h5

h5py = pytest.importorskip("h5py", reason="h5py is not installed")

MODELS = Path(__file__).parents[2] / "data" / "models"
ARCHIVE = (MODELS / "blocks.keras").read_bytes()
LEGACY = (MODELS / "blocks.h5").read_bytes()


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(ARCHIVE)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def weights(fill: Callable[[Any], object]) -> bytes:
    """Return a `.keras` file with these weights."""
    return packed(members() | {"model.weights.h5": hdf5(fill)})


def hdf5(fill: Callable[[Any], object]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as group:
        fill(group)
    return file.getvalue()


def test_both_forms_hold_the_same_arrays() -> None:
    new, old = read_keras_archive(ARCHIVE), read_keras_h5(LEGACY)
    assert new.config["class_name"] == old.config["class_name"] == "Functional"
    assert new.order is None
    assert old.order is not None
    paths = old.order["conv2"]
    for number, path in enumerate(paths):
        assert np.array_equal(new.weights[f"layers/conv2d_1/vars/{number}"], old.weights[path])
    assert len(new.weights) == len(old.weights) == 27


def test_packed_archives_are_read() -> None:
    found = read_keras_archive(packed(members(), method=zipfile.ZIP_DEFLATED))
    assert len(found.weights) == 27


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts | {"../evil": b""},
        lambda parts: parts | {"/etc/passwd": b""},
        lambda parts: parts | {"assets/vocabulary.txt": b"words"},
        lambda parts: parts | {"model.weights.npz": b""},
    ],
)
def test_other_parts_are_refused(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    with pytest.raises(RefusedError) as caught:
        read_keras_archive(packed(change(members())))
    assert caught.value.code == "model.unsafe"


def test_what_unpacks_to_far_more_is_refused() -> None:
    bomb = members() | {"model.weights.h5": bytes(1 << 24)}
    with pytest.raises(RefusedError, match="far more") as caught:
        read_keras_archive(packed(bomb, method=zipfile.ZIP_DEFLATED))
    assert caught.value.code == "model.unsafe"


def twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members().items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("config.json", b"{}")
    return file.getvalue()


def damaged() -> list[bytes]:
    parts = members()
    return [
        b"",
        b"PK\x03\x04" + bytes(100),
        ARCHIVE[:-100],
        packed({name: data for name, data in parts.items() if name != "config.json"}),
        packed({name: data for name, data in parts.items() if name != "model.weights.h5"}),
        packed(parts | {"config.json": b"{"}),
        packed(parts | {"config.json": b'{"a": 1, "a": 2}'}),
        packed(parts | {"model.weights.h5": b"no weights"}),
        packed(parts | {"model.weights.h5": parts["model.weights.h5"][:3000]}),
        packed(parts, method=zipfile.ZIP_BZIP2),
        twice(),
    ]


@pytest.mark.parametrize("number", range(11))
def test_damaged_archives_are_malformed(number: int) -> None:
    with pytest.raises(MalformedError) as caught:
        read_keras_archive(damaged()[number])
    assert caught.value.code == "model.malformed"


def test_a_configuration_too_deep_is_malformed() -> None:
    deep = b"[" * 100 + b"]" * 100
    with pytest.raises(MalformedError) as caught:
        read_keras_archive(packed(members() | {"config.json": deep}))
    assert caught.value.code == "wire.too-large"


def outside(group: Any) -> None:
    group["layers"] = h5py.ExternalLink("/etc/hostname", "/")


def soft(group: Any) -> None:
    group["layers"] = h5py.SoftLink("/elsewhere")


def in_another_file(group: Any) -> None:
    group.create_dataset("w", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def virtual(group: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "w", (4,))
    group.create_virtual_dataset("w", layout)


def compressed(group: Any) -> None:
    group.create_dataset("w", data=np.zeros(1000, "f4"), compression="gzip")


def text(group: Any) -> None:
    group.create_dataset("w", data="import os")


def objects(group: Any) -> None:
    group.create_dataset("w", data=np.array([b"code"], dtype=h5py.opaque_dtype("V4")))


def references(group: Any) -> None:
    group.create_dataset("w", data=np.array([group.ref], dtype=h5py.ref_dtype))


def a_type(group: Any) -> None:
    group["w"] = np.dtype("f4")


@pytest.mark.parametrize(
    "fill",
    [outside, soft, in_another_file, virtual, compressed, text, objects, references, a_type],
)
def test_weights_that_are_no_numbers_in_the_file_are_refused(fill: Callable[[Any], None]) -> None:
    with pytest.raises(RefusedError) as caught:
        read_keras_archive(weights(fill))
    assert caught.value.code == "model.unsafe"


def circle(group: Any) -> None:
    group.create_group("a")
    group["a/b"] = group


def linked_twice(group: Any) -> None:
    group["a"] = np.zeros(4, "f4")
    group["b"] = group["a"]


def unwritten(group: Any) -> None:
    group.create_dataset("w", (2**20, 2**20), "f4", chunks=(64, 64))


def deep(group: Any) -> None:
    group.create_group("/".join("a" * 40))


def nothing(group: Any) -> None:
    group["w"] = h5py.Empty("f4")


@pytest.mark.parametrize("fill", [circle, linked_twice, unwritten, deep, nothing])
def test_weights_that_go_round_or_are_not_there_are_malformed(fill: Callable[[Any], None]) -> None:
    with pytest.raises(MalformedError) as caught:
        read_keras_archive(weights(fill))
    assert caught.value.code == "model.malformed"


def legacy(config: object, *, names: tuple[bytes, ...] = (b"a",)) -> bytes:
    def fill(group: Any) -> None:
        if config is not None:
            group.attrs["model_config"] = config
        inner = group.create_group("model_weights")
        inner.attrs["layer_names"] = np.array(names)
        layer = inner.create_group("a")
        layer.attrs["weight_names"] = np.array([b"a/kernel"])
        layer["a/kernel"] = np.zeros(4, "f4")

    return hdf5(fill)


def test_legacy_files_say_the_order_of_weights() -> None:
    found = read_keras_h5(legacy(json.dumps({"class_name": "Functional"})))
    assert found.order == {"a": ("a/a/kernel",)}
    assert found.weights["a/a/kernel"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "data",
    [
        legacy(None),
        legacy("{"),
        legacy(7),
        legacy(b"\xff"),
        legacy("{}", names=(b"a", b"a")),
        legacy("{}", names=(b"missing",)),
        LEGACY[:2000],
        b"",
    ],
    ids=range(8),
)
def test_damaged_legacy_files_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        read_keras_h5(data)
    assert caught.value.code == "model.malformed"


def archive_of(config: bytes, said: int, crc: int) -> bytes:
    """Return an archive whose configuration is packed bytes, and of a size that it only says."""
    parts, places = b"", b""
    for name, data, size, check, method in (
        (b"config.json", config, said, crc, 8),
        (b"model.weights.h5", b"", 0, 0, 0),
    ):
        fields = struct.pack("<HHHHIIIHH", 0, method, 0, 0x21, check, len(data), size, len(name), 0)
        places += (
            b"PK\1\2\x14\0\x14\0" + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(parts)) + name
        )
        parts += b"PK\3\4\x14\0" + fields + name + data
    end = struct.pack("<HHHHIIH", 0, 0, 2, 2, len(places), len(parts), 0)
    return parts + places + b"PK\5\6" + end


def test_what_unpacks_to_more_than_it_says_is_not_unpacked() -> None:
    """A hundred megabytes of zeros that are said to be sixteen bytes."""
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed_zeros = b"".join(packing.compress(bytes(1 << 20)) for _ in range(100)) + packing.flush()
    data = archive_of(packed_zeros, 16, zlib.crc32(bytes(16)))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError) as caught:
            read_keras_archive(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "model.malformed"
    assert peak < 20 << 20


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_part_is_as_long_as_it_says(difference: int) -> None:
    text = b'{"a": 1}'
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = archive_of(
        packing.compress(text) + packing.flush(), len(text) + difference, zlib.crc32(text)
    )
    with pytest.raises(MalformedError) as caught:
        read_keras_archive(data)
    assert caught.value.code == "model.malformed"


@pytest.mark.parametrize("name", [b"", b"//", b"/".join([b"a"] * 2000)])
def test_names_of_layers_that_lead_nowhere_are_malformed(name: bytes) -> None:
    def fill(group: Any) -> None:
        group.attrs["model_config"] = np.bytes_("{}")
        inner = group.create_group("model_weights")
        inner["a"] = inner  # a way that never ends
        inner.attrs["layer_names"] = np.array([name, b"x"], dtype="S")

    with pytest.raises(MalformedError, match="nowhere") as caught:
        read_keras_h5(hdf5(fill))
    assert caught.value.code == "model.malformed"
