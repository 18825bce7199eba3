"""From hostile images, CoRIMs and records, only our errors escape, and in bounded time."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.cli.saved_verdict import read_saved
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import CloisterError
from cloister.tee.corim import Corim, translate
from cloister.tee.registry import by_name
from cloister.tee.tdx.firmware import TdxFirmware

ROOT: Final = Path(__file__).parents[2] / "docs/spec/vectors"


def vectors(page: str) -> dict[str, dict[str, object]]:
    """The vectors of a page."""
    found = sorted((ROOT / page).glob("*.json"))
    return {path.stem: json.loads(path.read_text("utf-8")) for path in found}


CORIMS: Final = {
    name: bytes.fromhex(str(v["file"])) for name, v in vectors("reference-values-v1").items()
}
SIGNED: Final = vectors("reference-values-v1")["signed"]
KEY: Final = EcdsaKey.from_spki(bytes.fromhex(str(SIGNED["key"])), "P-384")


def firmware() -> bytes:
    """The vector with all kinds of sections."""
    vector = vectors("tdx-launch-v1")["all-kinds"]
    size, pieces = vector["size"], vector["pieces"]
    assert isinstance(size, int)
    assert isinstance(pieces, list)
    data = bytearray(size)
    for at, piece in pieces:
        found = bytes.fromhex(piece)
        data[at : at + len(found)] = found
    return bytes(data)


FIRMWARE: Final = firmware()


@st.composite
def edits(draw: st.DrawFn, data: bytes, *, start: int = 0) -> bytes:
    """Good bytes with up to four places that are cut out, changed or filled with something."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(min(start, len(data)), len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data = data[:at] + draw(st.binary(max_size=8)) + data[end:]
    return data


@settings(max_examples=60)
@given(st.data())
def test_images(data: st.DataObject) -> None:
    """Edited where the metadata and the table are; whatever parses is measured."""
    image = data.draw(st.binary(max_size=200) | edits(FIRMWARE, start=12288))
    with contextlib.suppress(CloisterError):
        found = TdxFirmware.from_bytes(image)
        assert len(found.mrtd("page")) == len(found.mrtd("section")) == 48


@given(st.data())
def test_corims(data: st.DataObject) -> None:
    """Read, translated for a kind, and merged."""
    good = data.draw(st.sampled_from(sorted(CORIMS)))
    root = by_name(data.draw(st.sampled_from(["tdx", "snp", "tpm", "cca"])))
    assert root is not None
    with contextlib.suppress(CloisterError):
        corim = Corim.from_bytes(data.draw(st.binary(max_size=200) | edits(CORIMS[good])))
        translate(corim, root.name, root.fields()).merged()


@given(st.data())
def test_an_edited_corim_is_signed_by_nobody(data: st.DataObject) -> None:
    """Or says what was signed."""
    good = CORIMS["signed"]
    edited = data.draw(edits(good))
    at = SIGNED["at"]
    assert isinstance(at, int)
    try:
        corim = Corim.from_bytes(edited)
        corim.require_signed(KEY, at=at)
    except CloisterError:
        return
    assert corim.triples == Corim.from_bytes(good).triples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for records."""
    return tmp_path_factory.mktemp("records")


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_PARTS: Final = ("verdict", "claims", "reasons", "not_checked", "hardware_rooted")


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(_PARTS), _JSON), st.sampled_from(["accept", "reject", 1]))
def test_records(folder: Path, record: dict[str, object], verdict: object) -> None:
    """Whatever their parts are."""
    path = folder / "verdict.json"
    path.write_text(json.dumps({"verdict": verdict} | record))
    root = by_name("tdx")
    assert root is not None
    with contextlib.suppress(CloisterError):
        saved = read_saved(path)
        if saved is not None and saved.claims:
            saved.to_claims(root.fields())
