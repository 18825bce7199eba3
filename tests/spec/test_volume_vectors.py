"""The vectors of volume-v1: through our reader, the second reader, and the generator."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.crypto.keyring import KeyRing
from cloister.errors import CloisterError
from cloister.testing.store import MemoryStore
from cloister.volume import keys
from cloister.volume.anchor import AnchorState, PinnedAnchor
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.opening import Clocks, open_store
from cloister.volume.reader import verify_tree
from cloister.volume.regions import RegionClass, Regions
from cloister.volume.tree import VolumeFilesystem

SPEC = Path(__file__).parents[2] / "docs" / "spec"
VECTORS = SPEC / "vectors" / "volume-v1"
CASES = sorted(path.stem for path in VECTORS.glob("*.json"))


def load(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def tree_of(fs: VolumeFilesystem, ino: int = ROOT_INO, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for entry in fs.list_directory(ino):
        attributes = fs.attributes(entry.ino)
        path = prefix + os.fsdecode(entry.name)
        item: dict[str, object] = {"mode": attributes.mode, "nlink": attributes.nlink}
        if entry.mode == 0o120000:
            item["target"] = os.fsdecode(fs.readlink(entry.ino))
        elif entry.mode == 0o100000:
            out = bytearray(attributes.size)
            fs.read_into(entry.ino, 0, memoryview(out))
            item |= {"size": attributes.size, "sha256": hashlib.sha256(out).hexdigest()}
        else:
            found |= tree_of(fs, entry.ino, path + "/")
        found[path] = item
    return found


def ring_of(case: dict[str, object]) -> KeyRing:
    if "key" in case:
        return KeyRing.first(bytes.fromhex(str(case["key"])))
    keys: dict[str, str] = case["keys"]
    epochs = sorted(int(epoch) for epoch in keys)
    return KeyRing(epochs[-1], tuple(bytes.fromhex(keys[str(epoch)]) for epoch in epochs))


def outcome(case: dict[str, object]) -> tuple[str, object]:
    files = {path: bytearray.fromhex(data) for path, data in case["files"].items()}
    anchor = case["anchor"]
    state = AnchorState(anchor["version"], bytes.fromhex(anchor["root"]), 0)
    try:
        fs = open_store(
            MemoryStore(files=files),
            ring_of(case),
            anchor=PinnedAnchor(state),
            writable=False,
            clocks=Clocks(),
            regions=Regions({p: RegionClass(c) for p, c in case.get("regions", {}).items()}),
        )
        verify_tree(fs, progress=lambda _: None)
        return "ok", tree_of(fs)
    except CloisterError as e:
        return e.code, None


@pytest.mark.spec("VOL-1", "VOL-2", "VOL-3", "VOL-10", "VOL-11", "VOL-12", "VOL-13", "VOL-14")
@pytest.mark.spec("VOL-20", "VOL-21", "VOL-22", "VOL-30", "VOL-31", "VOL-32", "VOL-33", "VOL-34")
@pytest.mark.spec("VOL-70", "VOL-71", "VOL-72", "VOL-73", "VOL-76")
@pytest.mark.spec("VOL-35", "VOL-36", "VOL-40", "VOL-42", "VOL-43", "VOL-44", "VOL-51", "VOL-52")
@pytest.mark.spec("VOL-80", "VOL-81", "VOL-82", "VOL-83")
@pytest.mark.parametrize("name", CASES)
def test_our_reader_agrees(name: str) -> None:
    """Opening and reading a vector ends as it says."""
    case = load(name)
    assert outcome(case) == (case["expect"], case.get("content"))


def test_at_least_half_are_refusals() -> None:
    """Most vectors show a refusal."""
    expected = [load(name)["expect"] for name in CASES]
    assert len(expected) > 30
    assert expected.count("ok") * 2 <= len(expected)


def test_second_reader_agrees() -> None:
    """A reader written from the page alone gives the same for every vector."""
    done = subprocess.run(
        [sys.executable, VECTORS / "reader.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(CASES)} of {len(CASES)} vectors agree" in done.stdout


def test_generator_leaves_no_difference(tmp_path: Path) -> None:
    """Generating the vectors again changes no byte."""
    subprocess.run([sys.executable, VECTORS / "generate.py", tmp_path], check=True)
    made = {path.stem: path.read_text() for path in tmp_path.glob("*.json")}
    assert made == {name: (VECTORS / f"{name}.json").read_text() for name in CASES}


def test_labels_are_the_page_s() -> None:
    """Every label in the code is on the page, and every label on the page is in the code."""
    page = (SPEC / "volume-v1.md").read_text()
    source = Path(str(keys.__file__)).parent
    code = "".join(path.read_text() for path in source.rglob("*.py"))
    pattern = r'"(cloister volume v1 [a-z]+)"'
    assert set(re.findall(pattern, page)) == set(re.findall(pattern, code))


def test_clauses_that_the_code_names_exist() -> None:
    """A clause named in an error is on the page."""
    page = (SPEC / "volume-v1.md").read_text()
    source = Path(str(keys.__file__)).parent
    named = set(
        re.findall(r'clause="(VOL-\d+)"', "".join(p.read_text() for p in source.rglob("*.py")))
    )
    assert named
    assert named <= set(re.findall(r"\[(VOL-\d+)\]", page))
