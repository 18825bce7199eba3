"""NVIDIA's manifests from its RIM service, and its word on revocation by OCSP.

A manifest is named after what a report says of driver, board and VBIOS. OCSP is asked about every
certificate but roots and the GPUs' own leaves, of devices and of those who signed manifests.

NVIDIA, RIM service, version 1; OCSP: RFC 6960 over HTTP POST, with a nonce of 32 bytes (RFC 9654).
Spec: endorsement-sources-v1, clauses ES-17 to ES-19.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cloister.attestation.endorsement_bundle import Collected
from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate
from cloister.crypto.digest import framed, require_equal
from cloister.crypto.kdf import random_bytes
from cloister.crypto.ocsp import MAX_OCSP_BYTES, OCSP_NONCE_BYTES, OcspResponse, ocsp_request
from cloister.endorsing.questions import Answer, Post, Question, Window
from cloister.errors import ConfigError, EndorsementError, MalformedError
from cloister.tee.nvidia.endorsements import OCSP_MEDIA_TYPE
from cloister.tee.nvidia.layout import OPAQUE, GpuReport
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim
from cloister.wire.strict_json import read_json

__all__ = ["NvidiaWish", "WantedRim", "rim_of_answer", "wanted_rims"]

_CHIP: Final = re.compile(r"(G[A-Z][0-9A-Z]{2,6}) .{1,60}")
_BOARD: Final = re.compile(rb"([0-9A-Z]{1,8})\x00*")
_RIM_ID: Final = re.compile(r"NV_[0-9A-Za-z_.-]{1,125}")
_REQUEST_TYPE: Final = "application/ocsp-request"


@dataclass(frozen=True, slots=True)
class WantedRim:
    """One manifest.

    Attributes:
        id: NVIDIA's name of it.
        version: Of driver or VBIOS, as the manifest has it; empty where only the name is known.
    """

    id: str
    version: str = ""

    def __post_init__(self) -> None:
        """A name goes into an address."""
        if not _RIM_ID.fullmatch(self.id):
            raise ConfigError(f"{self.id!r} is no name of a manifest", code="config.value")


def wanted_rims(report: GpuReport, leaf: Certificate) -> tuple[WantedRim, WantedRim]:
    """Return the manifests of the driver and the VBIOS that a report names; unchecked.

    Raises:
        MalformedError: It does not name them.
    """
    chip = _CHIP.fullmatch(leaf.common_name)
    if chip is None:
        raise MalformedError("a GPU whose certificate names no chip", code="evidence.malformed")
    board = []
    for name in ("project", "project_sku", "chip_sku"):
        found = _BOARD.fullmatch(report.opaque.get(OPAQUE[name], b""))
        if found is None:
            raise MalformedError(
                "a GPU report does not name its board",
                code="evidence.malformed",
                detail=name,
                hint="name the manifests: --rim NV_GPU_VBIOS_…",
            )
        board.append(found[1].decode("ascii"))
    driver, vbios = report.driver_version, report.vbios_version
    return (
        WantedRim(f"NV_GPU_DRIVER_{chip[1]}_{driver}", driver),
        WantedRim(f"NV_GPU_VBIOS_{'_'.join(board)}_{vbios.replace('.', '')}", vbios),
    )


@dataclass(frozen=True, slots=True)
class NvidiaWish:
    """Manifests, and revocation of those who signed them and of devices.

    Attributes:
        rims: Which manifests.
        paths: DER of each device's certificates, the leaf first.
    """

    rims: tuple[WantedRim, ...]
    paths: tuple[tuple[bytes, ...], ...] = ()

    @property
    def about(self) -> str:
        """What is wished for, for people."""
        return ", ".join(each.id for each in self.rims)

    def collect(self, ask: Callable[[Question], Answer]) -> list[Collected]:
        """Ask for manifests, then about every certificate.

        Raises:
            CloisterError: As `ask` does.
        """
        items = []
        paths = [[Certificate.from_der(der) for der in path][1:] for path in self.paths]
        for wanted in self.rims:
            answer = ask(rim_question(wanted))
            manifest = rim_of_answer(answer.body, wanted)
            items.append(Collected(Endorsement(RIM_MEDIA_TYPE, manifest), answer.url, answer.at))
            paths.append(list(Rim.from_xml(manifest).path))
        pairs = {
            (certificate.der, issuer.der): (certificate, issuer)
            for path in paths
            for certificate, issuer in pairwise(path)
        }
        for certificate, issuer in pairs.values():
            answer = ask(ocsp_question(certificate, issuer))
            items.append(
                Collected(Endorsement(OCSP_MEDIA_TYPE, answer.body), answer.url, answer.at)
            )
        return items


def rim_question(wanted: WantedRim) -> Question:
    """Return the question for a manifest."""

    def judge(answer: Answer) -> Window:
        return _window(Rim.from_xml(rim_of_answer(answer.body, wanted)).path)

    return Question("nvidia-rim", f"/{wanted.id}", f"the manifest {wanted.id}", judge)


def rim_of_answer(body: bytes, wanted: WantedRim) -> bytes:
    """Return the manifest in an answer: an object with its name and itself as base64.

    Raises:
        MalformedError: It is no such answer, or the manifest cannot be read.
        EndorsementError: It is another manifest (`endorsement.mismatch`).
    """
    found = read_json(
        body,
        what="an answer of the RIM service",
        max_bytes=1 << 20,
        max_depth=3,
        code="endorsement.malformed",
    )
    if not isinstance(found, dict) or not isinstance(found.get("rim"), str):
        raise MalformedError("the RIM service gave no manifest", code="endorsement.malformed")
    try:
        manifest = base64.b64decode(found["rim"], validate=True)
    except ValueError as e:
        raise MalformedError("a manifest is not base64", code="endorsement.malformed") from e
    version = Rim.from_xml(manifest).content.version
    if found.get("id") != wanted.id or (wanted.version and version != wanted.version):
        raise EndorsementError(
            "an answer is another manifest", code="endorsement.mismatch", detail=version
        )
    return manifest


def ocsp_question(certificate: Certificate, issuer: Certificate) -> Question:
    """Return the question whether a certificate is revoked, with a nonce of its own."""
    nonce = random_bytes(OCSP_NONCE_BYTES)

    def judge(answer: Answer) -> Window:
        response = OcspResponse.from_der(answer.body)
        if not response.names(certificate, issuer):
            raise EndorsementError(
                "an OCSP response is about another certificate", code="endorsement.mismatch"
            )
        return Window(response.this_update, response.next_update)

    def require_fresh(body: bytes) -> None:
        error = EndorsementError(
            "an OCSP response was not made for this request", code="endorsement.mismatch"
        )
        require_equal(OcspResponse.from_der(body).nonce, nonce, error=error)

    return Question(
        "nvidia-ocsp",
        "",
        f"the status of {certificate.common_name or 'a certificate'}",
        judge,
        post=Post(
            ocsp_request(certificate, issuer, nonce),
            _REQUEST_TYPE,
            framed(certificate.der, issuer.der),
            require_fresh,
        ),
        max_bytes=MAX_OCSP_BYTES,
    )


def _window(path: Sequence[Certificate]) -> Window:
    return Window(max(each.not_before for each in path), min(each.not_after for each in path))
