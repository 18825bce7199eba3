"""CoRIMs around their tags: signature, signer, validity. The vectors have the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EndorsementError
from cloister.tee.corim.document import Corim

VECTORS: Final = Path(__file__).parents[4] / "docs/spec/vectors/reference-values-v1"


def vector(name: str) -> tuple[Corim, EcdsaKey, int]:
    """A vector's file, its key and its instant."""
    case = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    corim = Corim.from_bytes(bytes.fromhex(case["file"]))
    assert corim.signature is not None
    return corim, EcdsaKey.from_spki(bytes.fromhex(case["key"]), corim.signature.curve), case["at"]


@pytest.mark.spec("REF-5", "REF-6")
def test_a_signature_is_of_its_key_alone() -> None:
    """Neither another key nor another curve."""
    corim, key, at = vector("signed")
    other, small, _ = vector("signed-p256")
    corim.require_signed(key, at=at)
    other.require_signed(small, at=at)
    assert corim.signature is not None
    assert (corim.signature.signer, corim.signature.algorithm) == ("ACME Inc.", -35)
    for each, wrong in ((corim, small), (other, key)):
        with pytest.raises(EndorsementError) as e:
            each.require_signed(wrong, at=at)
        assert e.value.code == "corim.signature"
    with pytest.raises(EndorsementError):
        corim.require_unsigned(at=at)


@pytest.mark.spec("REF-8")
def test_a_signature_counts_for_its_time() -> None:
    """Both ends, judged at the caller's instant."""
    corim, key, at = vector("both-agree")
    corim.require_signed(key, at=1)
    corim.require_signed(key, at=at + 5)
    for wrong in (0, at + 6):
        with pytest.raises(EndorsementError) as e:
            corim.require_signed(key, at=wrong)
        assert e.value.code == "corim.validity"


def test_every_changed_byte_is_noticed() -> None:
    """In the signed parts of a signed file."""
    corim, key, at = vector("signed")
    case = json.loads((VECTORS / "signed.json").read_text("utf-8"))
    data = bytes.fromhex(case["file"])
    assert corim.signature is not None
    start = data.index(corim.signature.payload)
    from cloister.errors import CloisterError  # noqa: PLC0415  # where it is used

    for at_byte in range(start, start + len(corim.signature.payload), 7):
        changed = data[:at_byte] + bytes([data[at_byte] ^ 1]) + data[at_byte + 1 :]
        with pytest.raises(CloisterError):
            Corim.from_bytes(changed).require_signed(key, at=at)
