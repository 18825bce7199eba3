"""The key schedule of HPKE, against RFC 9180 and the vectors of X-Wing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.hpke_context import (
    AES_256_GCM,
    HKDF_SHA256,
    Context,
    Suite,
    open_once,
    seal_once,
)
from cloister.crypto.kem import X25519, XWING, X25519Key, XWingKey
from cloister.errors import EvidenceError

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("CLOISTER_SHARED", ROOT.parent / "shared"))
FOLDER = SHARED / "vectors" / "hpke"
REFUSED = EvidenceError("no", code="evidence.binding")
SUITE = Suite(XWING, HKDF_SHA256, AES_256_GCM)


def cases() -> list[dict[str, Any]]:
    """The published cases of base mode with algorithms that are here."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        found += json.loads(path.read_text("utf-8"))
    return [
        each
        for each in found
        if each["mode"] == 0
        and each["kem_id"] in {X25519, XWING}
        and each["kdf_id"] == HKDF_SHA256
        and each["aead_id"] != 0xFFFF
    ]


@pytest.mark.skipif(not FOLDER.exists(), reason="no vectors/hpke; set CLOISTER_SHARED")
def test_published_vectors() -> None:
    """Shared secrets, messages in order, and exported secrets."""
    assert len(cases()) >= 3
    for case in cases():
        secret = bytes.fromhex(case["skRm"])
        key = X25519Key(secret) if case["kem_id"] == X25519 else XWingKey.from_seed(secret)
        shared = key.decapsulate(bytes.fromhex(case["enc"]))
        assert shared.hex() == case["shared_secret"]
        suite = Suite(case["kem_id"], case["kdf_id"], case["aead_id"])
        seals = Context(suite, shared, info=bytes.fromhex(case["info"]))
        opens = Context(suite, shared, info=bytes.fromhex(case["info"]))
        for number, each in enumerate(case["encryptions"]):
            if each.get("sequence_number", number) != number:
                break
            text, aad, sealed = (bytes.fromhex(each[name]) for name in ("pt", "aad", "ct"))
            assert seals.seal(text, aad) == sealed
            assert opens.open(sealed, aad, error=REFUSED) == text
        for each in case["exports"]:
            purpose = bytes.fromhex(each["exporter_context"])
            assert seals.export(purpose, each["L"]).hex() == each["exported_value"]


def test_nothing_opens_out_of_order_or_under_other_info() -> None:
    """Each message has its place."""
    seals = Context(SUITE, bytes(32), info=b"a")
    first, second = seals.seal(b"1"), seals.seal(b"2")
    for opens, data in (
        (Context(SUITE, bytes(32), info=b"a"), second),
        (Context(SUITE, bytes(32), info=b"b"), first),
        (Context(SUITE, b"\1" * 32, info=b"a"), first),
    ):
        with pytest.raises(EvidenceError):
            opens.open(data, error=REFUSED)


def test_one_message_alone() -> None:
    """Sealed once, opened once, and no other way."""
    sealed = seal_once(SUITE, bytes(32), bytes(12), b"text")
    assert open_once(SUITE, bytes(32), bytes(12), sealed, error=REFUSED) == b"text"
    for nonce, data in ((b"\1" * 12, sealed), (bytes(12), sealed[:-1]), (bytes(12), b"")):
        with pytest.raises(EvidenceError):
            open_once(SUITE, bytes(32), nonce, data, error=REFUSED)
