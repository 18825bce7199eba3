"""What vouches is taken in every form that has one meaning, and what has none is refused."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner, Result

from cloister.attestation.evidence import Endorsement
from cloister.cli import evidence
from cloister.cli.evidence_fitting import fit
from cloister.crypto.chain import read_pem_chain, to_pem
from cloister.errors import CloisterError
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.manufacturers.tpm import SimulatedTpm
from evidence_samples import folder

NOW: Final = 1_800_000_000
INSTANT: Final = dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat()
AMD: Final = SimulatedAmd(b"fitting", "Genoa", now=NOW)
OTHERS: Final = SimulatedAmd(b"others", "Milan", now=NOW)
CHIP: Final = AMD.chip()
INTEL: Final = SimulatedIntel(b"fitting", at=NOW)
MINTED: Final = INTEL.mint(IntelCase("tdx5"))
MEMBERS: Final = {
    "verdict", "decided", "status", "reasons", "claims", "hardware_rooted", "not_checked",
}  # fmt: skip


def run(*words: str | Path) -> Result:
    """Run the command for a machine."""
    return CliRunner().invoke(evidence.app, ["verify", *map(str, words), "--json"])


def record(*words: str | Path) -> dict[str, Any]:
    """Run it; returns the one object that it prints."""
    done = run(*words)
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found) == MEMBERS
    assert (done.exit_code == 0) == (found["verdict"] == "accept")
    for reason in found["reasons"]:
        assert set(reason) == {"code", "detail", "expected", "found"}
    return found


def pem_list(der: bytes) -> bytes:
    """Write a revocation list as PEM."""
    lines = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN X509 CRL-----\n{lines}\n-----END X509 CRL-----\n".encode()


def amd(folder: Path, *files: bytes) -> tuple[str | Path, ...]:
    """Words for a report and files that vouch, behind one option."""
    (folder / "report.bin").write_bytes(CHIP.report())
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"given-{number}")
        paths[-1].write_bytes(data)
    words = ("--kind", "snp", "--at", INSTANT, "--anchor", f"sha256:{AMD.anchor.hex()}")
    return (folder / "report.bin", *words, "--endorsements", *paths)


LEAF: Final = CHIP.certificate
ISSUER, ROOT = (each.der for each in read_pem_chain(AMD.chain()))
LIST: Final = AMD.revocations()


@pytest.mark.parametrize(
    "files",
    [
        (to_pem([LEAF]), to_pem([ISSUER, ROOT]), pem_list(LIST)),
        (LEAF, to_pem([ROOT, ISSUER]), LIST),
        (to_pem([ROOT, ISSUER, LEAF]), LIST),
        (LEAF, ISSUER, ROOT, LIST),
        (to_pem([ROOT]), to_pem([ISSUER]), to_pem([LEAF]), LIST),
        (LEAF, to_pem([LEAF, ISSUER, ROOT]), LIST),
        (LEAF, AMD.chain() + pem_list(LIST)),
        (LEAF, AMD.chain(), LIST, OTHERS.chip().certificate, OTHERS.chain(), OTHERS.revocations()),
        (OTHERS.chip().certificate, OTHERS.chain(), OTHERS.revocations(), LEAF, AMD.chain(), LIST),
    ],
)
def test_certificates_in_any_file_form_and_order(tmp_path: Path, files: tuple[bytes, ...]) -> None:
    """Also beside those of another chip; the list is checked, wherever it stood."""
    found = record(*amd(tmp_path, *files))
    assert found["verdict"] == "accept", found["reasons"]
    assert found["claims"]["revocation_checked"] is True


def test_a_revoked_issuer_is_seen_in_a_file_of_pem(tmp_path: Path) -> None:
    """A list behind a chain was words between certificates, and nobody looked at it."""
    revoked = pem_list(AMD.revocations(serials=(AMD.issuer_serial("VCEK"),)))
    for files in ((LEAF, AMD.chain() + revoked), (LEAF, revoked + AMD.chain())):
        (reason,) = record(*amd(tmp_path, *files))["reasons"]
        assert reason["code"] == "endorsement.revoked"
    for broken in (revoked.replace(b"\nM", b"\n*", 1), revoked.replace(b"END X509", b"END"), b""):
        found = record(*amd(tmp_path, LEAF, AMD.chain() + broken))
        assert (found["verdict"] == "accept") == (not broken)


def test_lists_that_are_about_others_excuse_nothing(tmp_path: Path) -> None:
    """One that was given and is of no use leaves the rule standing."""
    files = (LEAF, AMD.chain(), OTHERS.revocations(), OTHERS.revocations() + b"")
    assert record(*amd(tmp_path, *files))["verdict"] == "reject"
    others = SimulatedAmd(b"others", "Turin", now=NOW)
    files = (LEAF, AMD.chain(), OTHERS.revocations(), others.revocations())
    (reason,) = record(*amd(tmp_path, *files))["reasons"]
    assert reason["detail"].startswith("revocation_checked")


def test_a_folder_is_named_with_what_describes_it(tmp_path: Path) -> None:
    """A JSON object beside is passed over there, and refused where it is named itself."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, data in (
        ("leaf", LEAF),
        ("chain", AMD.chain()),
        ("list", LIST),
        ("others", OTHERS.chain()),
        ("index.json", b'{"files": ["leaf"]}'),
    ):
        (folder / name).write_bytes(data)
    words = amd(tmp_path)
    assert record(*words, folder)["verdict"] == "accept"
    (reason,) = record(*words, folder, folder / "index.json")["reasons"]
    assert reason["code"] == "endorsement.malformed"
    (folder / "noise").write_bytes(b"noise")
    assert record(*words, folder)["reasons"][0]["code"] == "endorsement.malformed"


def test_more_files_need_the_option(tmp_path: Path) -> None:
    """One option may be followed by several; without it a second file is a mistake."""
    words = amd(tmp_path, LEAF, AMD.chain())
    report, paths = words[0], words[-2:]
    assert record(*words)["verdict"] == "accept"
    assert record(*words[:-1], "--endorsements", words[-1])["verdict"] == "accept"
    error = run(report, *words[1:-3], *paths).exception
    assert isinstance(error, CloisterError)
    assert error.code == "config.value"
    assert "--endorsements" in str(error.hint)
    # What is named first is the evidence, and a certificate is none.
    swapped = (paths[0], *words[1:-2], paths[1], report)
    assert record(*swapped)["verdict"] == "reject"


def tdx(folder: Path, *files: bytes, quote: bytes = MINTED.quote) -> tuple[str | Path, ...]:
    """Words for a quote and files that vouch."""
    (folder / "quote").write_bytes(quote)
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"collateral-{number}")
        paths[-1].write_bytes(data)
    words = ("--kind", "tdx", "--at", INSTANT, "--anchor", f"sha256:{INTEL.anchor.hex()}")
    return (folder / "quote", *words, "--endorsements", *paths)


BUNDLE: Final = {name: str(value) for name, value in dict(MINTED.bundle).items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _inside(bundle: dict[str, Any]) -> dict[str, Any]:
    found = dict(bundle)
    for name, inner in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        signature = found.pop(f"{name}_signature")
        found[name] = f'{{"{inner}":{found[name]},"signature":"{signature}"}}'
    return found


@pytest.mark.spec("INTEL-10", "INTEL-11")
@pytest.mark.parametrize(
    "respell",
    [
        lambda found: {_camel(name): value for name, value in found.items()},
        lambda found: {
            name: value.upper() if name.endswith(("crl", "signature")) else value
            for name, value in found.items()
        },
        lambda found: {
            name: pem_list(bytes.fromhex(value)).decode() if name.endswith("crl") else value
            for name, value in found.items()
        },
        lambda found: {
            name: base64.b64encode(bytes.fromhex(value)).decode() if name.endswith("crl") else value
            for name, value in found.items()
        },
        _inside,
        lambda found: found | {"version": 3, "tee_type": 129, "pck_certificate_chain": None},
    ],
    ids=["names", "upper case", "PEM", "base64", "signatures inside", "the library's"],
)
def test_collateral_as_others_write_it(
    tmp_path: Path, respell: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """It is judged as ours is, and a changed statement is refused in every spelling."""
    text = json.dumps(respell(BUNDLE))
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
        found = record(*tdx(tmp_path, data))
        assert (found["verdict"], found["status"]) == ("accept", "UpToDate"), found["reasons"]
    changed = text.replace("UpToDate", "UpToDatE", 1)
    assert changed != text
    assert record(*tdx(tmp_path, changed.encode()))["verdict"] == "reject"


@pytest.mark.spec("INTEL-10", "INTEL-11")
@pytest.mark.parametrize(
    "wrong",
    [
        BUNDLE | {"tcbInfo": BUNDLE["tcb_info"]},
        BUNDLE | {"another": "x"},
        BUNDLE | {"pck_crl": "not a list"},
        BUNDLE | {"pck_crl": None},
        BUNDLE | {"tcb_info": {"id": "TDX"}},
        {name: value for name, value in BUNDLE.items() if name != "tcb_info_signature"},
    ],
    ids=["twice", "unknown", "no list", "null", "an object", "no signature"],
)
def test_collateral_with_no_one_meaning_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """With a verdict."""
    assert record(*tdx(tmp_path, json.dumps(wrong).encode()))["verdict"] == "reject"


def test_of_several_collaterals_the_one_that_counts_is_taken(tmp_path: Path) -> None:
    """Of two days, and of another machine; each alone says what is wrong with it."""
    good = json.dumps(BUNDLE).encode()
    other = json.dumps(dict(INTEL.mint(IntelCase("sgx3")).bundle)).encode()
    for files in ((good, other), (other, good)):
        assert record(*tdx(tmp_path, *files))["verdict"] == "accept"
    assert record(*tdx(tmp_path, other))["verdict"] == "reject"


@pytest.mark.parametrize(
    "write",
    [
        lambda data: data.hex().encode() + b"\n",
        lambda data: b"0x" + data.hex().upper().encode(),
        base64.b64encode,
        base64.encodebytes,
    ],
    ids=["hex", "0x", "base64", "base64 in lines"],
)
def test_evidence_as_text(tmp_path: Path, write: Callable[[bytes], bytes]) -> None:
    """It stands for its bytes, and a changed one is refused."""
    collateral = json.dumps(BUNDLE).encode()
    words = tdx(tmp_path, collateral, quote=write(MINTED.quote))
    assert record(*words)["verdict"] == "accept"
    changed = bytes([*MINTED.quote[:200], MINTED.quote[200] ^ 1, *MINTED.quote[201:]])
    assert record(*tdx(tmp_path, collateral, quote=write(changed)))["verdict"] == "reject"


def test_what_is_packed_or_a_part_says_what_to_do(tmp_path: Path) -> None:
    """Evidence and endorsements alike."""
    collateral = json.dumps(BUNDLE).encode()
    for words in (
        tdx(tmp_path, collateral, quote=gzip.compress(MINTED.quote)),
        tdx(tmp_path, gzip.compress(collateral)),
    ):
        (reason,) = record(*words)["reasons"]
        assert "gunzip" in reason["detail"]
    part = tmp_path / "hcl_report.bin"
    part.write_bytes(b"HCLA" + bytes(64))
    for kind in ("azure-snp", "azure-tdx", "tpm"):
        (reason,) = record(part, "--kind", kind, "--at", INSTANT)["reasons"]
        assert "folder" in reason["detail"]


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "tpm", "azure-snp", "azure-tdx", "nvidia"])
@pytest.mark.parametrize("data", [b"", b"\xa3", b"[", b"{}", b"[" * 9999, b"\xff" * 2000])
def test_malformed_evidence_is_one_object_and_no_success(
    tmp_path: Path, kind: str, data: bytes
) -> None:
    """Whatever it is."""
    path = tmp_path / "evidence"
    path.write_bytes(data)
    found = record(path, "--kind", kind, "--at", INSTANT)
    assert (found["verdict"], len(found["reasons"]), found["claims"]) == ("reject", 1, {})


def test_a_gpus_chain_in_any_order(tmp_path: Path) -> None:
    """As one file or one for each certificate; a stranger's certificate makes no path of it."""
    maker = SimulatedNvidia("fitting", at=NOW)
    gpu = maker.gpu("HOPPER")
    report, rims = tmp_path / "report.bin", tmp_path / "rims"
    report.write_bytes(gpu.evidence(bytes(32)).body)
    rims.mkdir()
    for number, each in enumerate([*maker.rims(gpu), *maker.rims(maker.gpu("BLACKWELL"))]):
        (rims / f"{number}.xml").write_bytes(each.body)
    ders = [each.der for each in gpu.device.path]
    anchors = [word for each in maker.anchors for word in ("--anchor", f"sha256:{each.hex()}")]
    words = (report, "--kind", "nvidia", "--at", INSTANT, *anchors, "--endorsements")
    stranger = SimulatedTpm(b"stranger", now=NOW).root
    for order, good in (
        ([to_pem(ders)], True),
        ([to_pem(ders[::-1])], True),
        (ders[2:] + ders[:2], True),
        ([to_pem([*ders, stranger])], False),
        ([to_pem(ders[:2] + ders[3:])], False),
    ):
        paths = []
        for number, data in enumerate(order):
            paths.append(tmp_path / f"chain-{number}")
            paths[-1].write_bytes(data)
        found = record(*words, *paths, rims)
        assert (found["verdict"] == "accept") == good, found["reasons"]
        assert not good or found["claims"]["measres"] == "success"
    # Manifests that are all about other GPUs excuse nothing.
    for number in (0, 1):
        (rims / f"{number}.xml").unlink()
    (tmp_path / "chain-0").write_bytes(to_pem(ders))
    found = record(*words, tmp_path / "chain-0", rims)
    assert found["verdict"] == "reject"


def test_what_is_of_no_use_to_a_kind_is_left_out() -> None:
    """And putting together twice is as once."""
    maker = SimulatedNvidia("fitting", at=NOW)
    given = maker.endorsements(maker.gpu("HOPPER"))
    for kind in ("nvidia", "snp", "tdx", "nitro"):
        once = fit(kind, given)
        assert fit(kind, once) == once
    assert fit("nitro", given) == []


def test_a_genuine_chips_certificate_is_read_without_a_warning() -> None:
    """Its serial number is zero: a library that is to read X.509 alone says so to every user."""
    found = [Endorsement("application/pkix-cert", path.read_bytes())
             for path in sorted(folder("snp").glob("*/vcek.der"))]  # fmt: skip
    chain = Endorsement("application/pem-certificate-chain", AMD.chain())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fitted = fit("snp", [*found, chain])
    assert [each.body for each in fitted[: len(found)]] == [each.body for each in found]
    assert not said
