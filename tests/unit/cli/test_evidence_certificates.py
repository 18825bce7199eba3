"""`cloister evidence certificate`: made here, read by the other command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cloister.attestation.evidence import Evidence
from cloister.attestation.ratls import CMW_EXTENSION, cmw_extension
from cloister.cli import attesting
from cloister.crypto.chain import read_pem_chain
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from unit.cli.conftest import Door
from unit.cli.test_evidence import code, run

NONCE = (b"n" * 16).hex()


def test_a_simulated_platforms_certificate_is_read_again(door: Door) -> None:
    """With the key beside it, for its owner only."""
    words = ("evidence", "certificate", "c.pem", "--key", "k.pem", "--kind", "sim")
    record = door.record(*words)
    assert record == {"form": "cmw", "certificate": "c.pem", "key": "k.pem"}
    assert (door.folder / "k.pem").stat().st_mode & 0o077 == 0
    key = load_pem_private_key((door.folder / "k.pem").read_bytes(), None)
    [made] = read_pem_chain((door.folder / "c.pem").read_bytes())
    assert key.public_key() == made._parsed.public_key()
    anchor = door.bench.domain.anchors["sim"][0].text
    told = door.call(*words[:2], "p.pem", "--key", "q.pem", "--kind", "sim").stdout
    assert "p.pem: evidence of sim as cmw" in told
    assert "a secret" in told
    judge = ("evidence", "verify", "c.pem", "--kind", "sim", "--anchor", anchor)
    assert door.record(*judge)["verdict"] == "accept"
    # The same evidence in a certificate of another key is refused.
    door.record("evidence", "convert", "c.pem", "e.cbor", "--kind", "sim", "--to", "envelope")
    moved = Evidence.from_bytes((door.folder / "e.cbor").read_bytes())
    pem = TLSKey.generate().self_signed(
        extension=CMW_EXTENSION, value=cmw_extension(moved), at=_now(), lifetime_s=60
    )
    (door.folder / "c.pem").write_bytes(pem)
    done = door.call(*judge, "--json")
    assert json.loads(done.stdout)["reasons"][0]["code"] == "evidence.binding"


def test_a_tds_certificate_is_interoperable_and_answers_its_nonce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quote is a simulated manufacturer's, over what the command asks for."""
    intel = SimulatedIntel(b"seed", at=_now())

    def collected(kind: str, nonce: bytes, wish: attesting.Wish) -> attesting.Collected:
        assert (kind, len(nonce), wish.vmpl) == ("tdx", 64, 0)
        minted = intel.mint(IntelCase("tdx5", report_data=nonce))
        return attesting.Collected(minted.evidence)

    monkeypatch.setattr(attesting, "collect", collected)
    made = tmp_path / "c.pem"
    words = ("certificate", made, "--key", tmp_path / "k.pem", "--kind", "tdx", "--nonce", NONCE)
    assert json.loads(run(*words, "--json").stdout)["form"] == "interoperable"
    bundle = tmp_path / "collateral.json"
    bundle.write_bytes(intel.mint(IntelCase("tdx5")).collateral)
    judge = (
        *("verify", made, "--kind", "tdx", "--endorsements", bundle, "--json"),
        *("--anchor", "sha256:" + intel.anchor.hex(), "--nonce"),
    )
    assert run(*judge, NONCE).exit_code == 0
    assert run(*judge, NONCE[2:]).exit_code == 77


def _now() -> int:
    from cloister.keyservice.clock import read_clock  # noqa: PLC0415  # where it is used

    return read_clock().at


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--kind", "sim", "--nonce", NONCE), "config.value"),
        (("--kind", "tdx", "--nonce", "xyz"), "config.value"),
        (("--kind", "tdx", "--nonce", "00" * 65), "evidence.malformed"),
        (("--kind", "sim", "--hours", "0"), "config.value"),
        (("--kind", "sim", "--hours", "9999"), "config.value"),
        (("--kind", "nitro"), "config.value"),
    ],
)
def test_mistakes(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    """Nothing is written."""
    files = (tmp_path / "c.pem", "--key", tmp_path / "k.pem")
    assert code("certificate", *files, *words) == expected
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(door: Door) -> None:
    """And no key is left where there is no certificate."""
    (door.folder / "c.pem").write_text("mine")
    done = door.call("evidence", "certificate", "c.pem", "--key", "k.pem", "--kind", "sim")
    assert isinstance(done.exception, CloisterError)
    assert done.exception.code == "config.exists"
    assert not (door.folder / "k.pem").exists()
