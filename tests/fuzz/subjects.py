"""Evidence that is accepted, as files: every genuine sample that is here, every simulated kind.

Each is judged as `cloister evidence verify` judges it, under a policy that leaves everything open
but one bit: whatever else is refused is refused because it is not genuine.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloister.attestation.evidence import Evidence
from cloister.attestation.verdict import Verdict
from cloister.cli import evidence as command
from cloister.cli.evidence_files import read_evidence
from cloister.crypto.chain import to_pem
from cloister.crypto.digest import sha256
from cloister.crypto.signature import SigningKey
from cloister.tee.cca.endorsements import anchor_of_key
from cloister.tee.registry import by_name
from cloister.tee.sim.layout import REPORT_LABEL, SignedReport, SimReport
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nitro import SimulatedNitro
from cloister.testing.manufacturers.nvidia import (
    SimulatedNvidia,
    evidence_list,
    packed_evidence,
)
from cloister.testing.manufacturers.tpm import SimulatedTpm
from evidence_samples import instant

__all__ = ["FOLDER", "Subject", "genuine", "simulated"]

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = Path(os.environ.get("CLOISTER_EVIDENCE", ROOT.parent / "shared" / "evidence"))
AT: Final = NOW
_ALWAYS: Final = "2026-01-01T00:00:00Z"
_FILES: Final = {
    "sgx": ("quote.bin",),
    "tdx": ("quote.bin",),
    "snp": ("report.bin",),
    "nvidia": ("report.bin", "evidence.json"),
    "nitro": ("document.cbor",),
    "cca": ("token.cbor",),
    "tpm": ("quote.msg", "quote.sig", "pcrs.json", "event_log.bin", "ak_pub.pem"),
    "azure-snp": ("hcl_report.bin", "tpm_quote.msg", "tpm_quote.sig", "pcrs.json", "ak_pub.pem"),
    "azure-tdx": ("hcl_report.bin", "tpm_quote.msg", "tpm_quote.sig", "pcrs.json", "ak_pub.pem",
                  "td_quote.bin"),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """One piece of evidence with what vouches for it.

    Attributes:
        name: For messages.
        kind: The root of trust.
        at: The instant to judge at.
        parts: Files of the evidence's folder; one alone is judged as a file where `alone`.
        endorsements: Files that are named.
        anchors: As policies have them; `ed25519:` for `sim`.
        alone: Whether the one part is named itself, not its folder.
        window: From when to when everything counts, where a sample's description says so.
    """

    name: str
    kind: str
    at: str
    parts: Mapping[str, bytes]
    endorsements: Mapping[str, bytes] = field(default_factory=dict)
    anchors: tuple[str, ...] = ("manufacturer",)
    alone: bool = False
    window: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return self.name

    def judge(
        self, place: Path, *, parts: Mapping[str, bytes] | None = None,
        endorsements: Mapping[str, bytes] | None = None, at: str = "", debug: str = "",
    ) -> Verdict:  # fmt: skip
        """Judge it, or what became of it, with the function under the command.

        Raises:
            CloisterError: A mistake of the user's.
        """
        return command._judge(
            self.written(place, self.parts if parts is None else parts),
            kind=self.kind,
            endorsements=self._named(place, endorsements),
            collector=(),
            instant=command.instant_of(at or self.at),
            policy=self._policy(place, debug),
            nonce="",
            anchor=[each for each in self.anchors if each.startswith("ed25519:")],
            event_log=None,
            form="auto",
        )

    def written(self, place: Path, parts: Mapping[str, bytes]) -> Path:
        """Write the parts; return what is named on the command line."""
        folder = place / "evidence"
        folder.mkdir(exist_ok=True)
        for name, data in parts.items():
            (folder / name).write_bytes(data)
        return folder / next(iter(parts)) if self.alone else folder

    def body(self, place: Path, parts: Mapping[str, bytes]) -> Evidence:
        """Return the evidence that the parts are read as."""
        return read_evidence(self.written(place, parts), self.kind, event_log=None)

    def _named(self, place: Path, given: Mapping[str, bytes] | None) -> list[Path]:
        folder = place / "endorsements"
        folder.mkdir(exist_ok=True)
        found = self.endorsements if given is None else given
        for name, data in found.items():
            (folder / name).write_bytes(data)
        return [folder / name for name in found]

    def _policy(self, place: Path, debug: str) -> Path:
        path = place / f"policy-{debug}.yaml"
        if path.exists():
            return path
        root = by_name(self.kind)
        assert root is not None
        rules = {
            each.path: {"unchecked": "the mutation harness looks at signatures"}
            for each in root.fields()
            if each.required
        }
        if debug:
            rules["debug"] = {"one_of": debug}
        lines = [f"  {name}: {_rule(rule)}" for name, rule in rules.items()]
        anchors = [each for each in self.anchors if not each.startswith("ed25519:")]
        named = anchors or ["sha256:" + "00" * 32]
        text = f"evidence_policy: cloister/v1\nkind: {self.kind}\nanchors: [{', '.join(named)}]\n"
        path.write_text(f"{text}claims:\n" + "\n".join(lines) + "\n", "utf-8")
        return path


def _rule(rule: Mapping[str, Any]) -> str:
    word, value = next(iter(rule.items()))
    return f"{{{word}: [{value}]}}" if word == "one_of" else f"{{{word}: {value}}}"


def simulated() -> list[Subject]:
    """Return one subject for each kind and form that a simulated manufacturer mints."""
    return [
        *_intel(),
        *_amd(),
        *_vendors(),
        _sim(),
    ]


def genuine() -> list[Subject]:
    """Return every sample of real hardware that is here, at its first instant with everything."""
    found: list[Subject] = []
    for family in ("sgx", "tdx", "snp", "azure", "tpm", "nvidia", "nitro", "cca"):
        for described in sorted((FOLDER / family).glob("*/sample.json")):
            facts = json.loads(described.read_text("utf-8"))
            found += _sample(family, described.parent, facts)
    return found


def _sample(family: str, path: Path, facts: dict[str, Any]) -> list[Subject]:
    checks = facts.get("checks", [facts])
    if not checks or path.name == "hcl-kinvolk-snp":
        return []
    check = checks[-1]
    at = check.get("verify_at", _ALWAYS)
    kind = f"azure-{path.name.partition('-')[0]}" if family == "azure" else family
    names = [check.get("collateral"), check.get("crl")]
    anchors: tuple[str, ...] = ("manufacturer",)
    if family == "snp":
        names += [facts["certificates"]["leaf"], facts["certificates"]["chain"]]
    elif kind == "azure-snp":
        names += ["vcek.der", facts["snp_chain"]]
    elif kind == "azure-tdx":
        collateral = "../../dcap-collateral/tdx-00806f050000-20260627-v3-eval21.json"
        names, at = [collateral], "2026-06-27T22:27:15Z"
    elif family == "tpm":
        anchors = (_key_anchor((path / "ak_pub.pem").read_text("ascii")),)
    elif family == "cca":
        names = ["cpak.jwk.json"]
        anchors = (f"sha256:{_jwk_anchor(path / 'cpak.jwk.json')}",)
    elif family == "nvidia" and (path / "cert_chain.pem").exists():
        names = ["cert_chain.pem"]
    given = {Path(name).name: (path / name).read_bytes() for name in names if name}
    parts = {name: (path / name).read_bytes() for name in _FILES[kind] if (path / name).is_file()}
    window = None
    if "valid_from" in check:
        window = (instant(check["valid_from"]), instant(check["valid_until"]))
    elif "certificates_valid" in facts:
        first, last = (instant(each) for each in facts["certificates_valid"])
        window = (first, last)
    return [Subject(f"{kind}/{path.name}", kind, at, parts, given, anchors, window=window)]


def _key_anchor(pem: str) -> str:
    der = base64.b64decode("".join(pem.strip().splitlines()[1:-1]))
    return f"sha256:{sha256(der).hex()}"


def _jwk_anchor(path: Path) -> str:
    return anchor_of_key(path.read_bytes()).hex()


def _named(digest: bytes) -> tuple[str, ...]:
    return (f"sha256:{digest.hex()}",)


def _at(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _intel() -> list[Subject]:
    maker = SimulatedIntel(b"mutants", at=AT)
    found = []
    for kind, certification in (
        ("sgx3", 5), ("sgx3", 1), ("sgx3", 3), ("sgx5", 5),
        ("tdx4", 5), ("tdx4", 2), ("tdx15", 5), ("tdx15ex", 5),
    ):  # fmt: skip
        case = IntelCase(kind, certification_type=certification)
        minted = maker.mint(case)
        chain = {} if certification == 5 else {
            "pck_certificate_chain": to_pem(minted.chain).decode()
        }  # fmt: skip
        found.append(
            Subject(
                f"simulated {kind} {certification}",
                kind[:3],
                _at(AT),
                {"quote.bin": minted.quote},
                {"collateral.json": json.dumps(dict(minted.bundle) | chain).encode()},
                _named(maker.anchor),
                alone=True,
            )
        )
    return found


def _amd() -> list[Subject]:
    found = []
    for product, version, key in (
        ("Milan", 2, "VCEK"), ("Genoa", 3, "VLEK"), ("Genoa", 4, "VCEK"), ("Turin", 5, "VCEK"),
    ):  # fmt: skip
        maker = SimulatedAmd(b"mutants", product, now=AT)
        chip = maker.chip(kind=key)
        found.append(
            Subject(
                f"simulated snp {product} v{version}",
                "snp",
                _at(AT),
                {"report.bin": chip.report(version=version)},
                {
                    "chip.der": chip.certificate,
                    "chain.pem": maker.chain(key),
                    "list.crl": maker.revocations(),
                },
                _named(maker.anchor),
                alone=True,
            )
        )
    return found


def _files(given: Any) -> dict[str, bytes]:
    ends = {"application/pkix-crl": "crl", "application/swid+xml": "xml"}
    return {
        f"{number}.{ends.get(each.media_type, 'pem')}": each.body
        for number, each in enumerate(given)
    }


def _vendors() -> list[Subject]:
    nonce, at = bytes(range(32)), _at(AT)
    found = []

    def add(name: str, kind: str, evidence: Evidence, given: Any, *anchors: bytes) -> None:
        names = tuple(f"sha256:{each.hex()}" for each in anchors)
        files = given if isinstance(given, dict) else _files(given)
        parts = {"evidence.bin": evidence.to_bytes()}
        found.append(Subject(f"simulated {name}", kind, at, parts, files, names, alone=True))

    azure = SimulatedAzureVm(b"mutants", now=AT)
    body = Evidence("application/vnd.cloister.azure-snp+cbor", azure.evidence(nonce))
    add("azure-snp", "azure-snp", body, azure.endorsements(), azure.amd.anchor)
    for scheme in ("RSASSA", "RSAPSS", "ECDSA"):
        tpm = SimulatedTpm(scheme.encode(), scheme=scheme, now=AT)
        quoted = Evidence("application/vnd.cloister.tpm+cbor", tpm.evidence(nonce))
        add(f"tpm {scheme}", "tpm", quoted, tpm.endorsements(), tpm.anchor)
    nvidia = SimulatedNvidia("mutants", at=AT)
    for arch in ("HOPPER", "BLACKWELL"):
        gpu = nvidia.gpu(arch)
        add(
            f"nvidia {arch}",
            "nvidia",
            gpu.evidence(nonce),
            nvidia.endorsements(gpu),
            *nvidia.anchors,
        )
        several = evidence_list([gpu], nonce)
        rims = [each for each in nvidia.endorsements(gpu) if each != gpu.chain]
        add(f"nvidia list {arch}", "nvidia", several, rims, *nvidia.anchors)
        add(f"nvidia packed {arch}", "nvidia", packed_evidence([gpu], nonce), rims, *nvidia.anchors)
    nitro = SimulatedNitro("mutants", at=AT)
    add("nitro", "nitro", nitro.evidence(), {}, nitro.anchor)
    cca = SimulatedCca("mutants")
    add("cca", "cca", cca.evidence(), {"key.json": cca.key.body}, cca.anchor)
    return found


def _sim() -> Subject:
    key = SigningKey(bytes(32))
    report = SimReport(key.public.raw, bytes(32), bytes(64), debug=False, svn=1).to_bytes()
    signed = SignedReport(report, key.sign(REPORT_LABEL, report))
    evidence = Evidence("application/vnd.cloister.sim+cbor", signed.to_bytes())
    anchor = key.public.text
    return Subject(
        "simulated sim", "sim", _at(AT), {"evidence.cbor": evidence.to_bytes()}, {}, (anchor,),
        alone=True,
    )  # fmt: skip
