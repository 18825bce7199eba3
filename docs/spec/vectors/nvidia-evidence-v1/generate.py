"""Write the vectors of nvidia-evidence-v1. Running it again changes nothing.

The simulated manufacturer makes them; its layout is the verifier's, its keys come from a seed.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cbor2

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.tee.nvidia.evidence_list import (
    LIST_MEDIA_TYPE,
    PACKED_MEDIA_TYPE,
    DeviceEvidence,
    devices_to_json,
)
from cloister.tee.nvidia.layout import OPAQUE, REPORT_MEDIA_TYPE, GpuReport
from cloister.testing.manufacturers.nvidia import (
    SimulatedGpu,
    SimulatedNvidia,
    evidence_list,
    packed_evidence,
)

HERE = Path(__file__).parent
AT = 1_800_000_000
NONCE = bytes(range(32))
MAKER = SimulatedNvidia("vectors", at=AT)
OTHER = SimulatedNvidia("vectors/other", at=AT)
HOPPER, BLACKWELL = MAKER.gpu("HOPPER"), MAKER.gpu("BLACKWELL")
PAST = (AT - 1000, AT - 1)


def manifest(gpu: SimulatedGpu, kind: str, **change: str) -> Endorsement:
    """A manifest of a few measurements."""
    content = MAKER.rim_content(gpu, "driver" if kind == "driver" else "vbios")
    indexes = (12, 20, 35, 40) if kind == "driver" else (0, 3, 9)
    few = tuple(each for each in content.resources if each.index in indexes)
    return MAKER.rim(replace(content, resources=few, **change))


def collateral(gpu: SimulatedGpu) -> list[Endorsement]:
    """Chain, manifests, lists."""
    rims = [manifest(gpu, kind) for kind in ("driver", "vbios")]
    return [gpu.chain, *rims, *MAKER.revocation_lists(gpu)]


def edited(rim: Endorsement, old: str, new: str) -> Endorsement:
    """A manifest with other text."""
    text = rim.body.decode("ascii")
    if old not in text:
        raise ValueError(old)
    return Endorsement(rim.media_type, text.replace(old, new, 1).encode("ascii"))


def report(value: GpuReport) -> Evidence:
    """A report as evidence."""
    return Evidence(REPORT_MEDIA_TYPE, value.to_bytes())


def as_json(endorsement: Endorsement) -> dict[str, str]:
    """Text where it is text, hexadecimal where it is not."""
    if "pkix" in endorsement.media_type or "ocsp" in endorsement.media_type:
        return {"media_type": endorsement.media_type, "body": endorsement.body.hex()}
    return {"media_type": endorsement.media_type, "text": endorsement.body.decode("ascii")}


def cases() -> dict[str, tuple[str, str, Evidence, Sequence[Endorsement], str]]:
    """Name to comment, clause, evidence, endorsements, and what to expect."""
    good = HOPPER.report(NONCE)
    evidence, chain = report(good), HOPPER.chain
    driver = manifest(HOPPER, "driver")
    second = MAKER.gpu("HOPPER", number=2)
    devices = {
        gpu: DeviceEvidence(gpu.architecture, gpu.device.pem, gpu.report(NONCE))
        for gpu in (HOPPER, second)
    }
    twice = devices_to_json((devices[HOPPER], devices[HOPPER]))
    late = devices_to_json(
        (devices[HOPPER], replace(devices[second], report=second.report(b"n" * 32)))
    )
    wrong_arch = devices_to_json((replace(devices[HOPPER], arch="BLACKWELL"),))
    wrong_fwid = MAKER.gpu("HOPPER", leaf_fwid=b"x" * 48)
    expired = MAKER.gpu("HOPPER", validity=PAST)
    foreign = OTHER.gpu("HOPPER")
    altered = MAKER.gpu("HOPPER", altered={3, 20})
    debug = MAKER.gpu("BLACKWELL", debug=True)
    revoked = MAKER.revocation_lists(HOPPER, revoked=[HOPPER.device.path[1]])
    stale = MAKER.revocation_lists(HOPPER, validity=PAST)
    old_nonce = replace(good, nonce=bytes(32))
    other_driver = replace(good, opaque=good.opaque | {OPAQUE["driver_version"]: b"999.0\x00"})
    two = [HOPPER, second]
    shared = [
        each for each in collateral(HOPPER) if each is not chain and "pem" not in each.media_type
    ]
    shared += MAKER.revocation_lists(second)
    packed = cbor2.loads(packed_evidence([HOPPER], NONCE).body)
    packed = packed | {"certificates": [*packed["certificates"], b"unused"]}
    unused = Evidence(PACKED_MEDIA_TYPE, cbor2.dumps(packed, canonical=True))
    return {
        "ok-hopper": ("A healthy GPU.", "NV-16", evidence, collateral(HOPPER), "ok"),
        "ok-blackwell": (
            "Another generation.",
            "NV-13",
            BLACKWELL.evidence(NONCE),
            collateral(BLACKWELL),
            "ok",
        ),
        "ok-list": ("Two GPUs at once.", "NV-15", evidence_list(two, NONCE), shared, "ok"),
        "ok-packed": ("The same, packed.", "NV-9", packed_evidence(two, NONCE), shared[:2], "ok"),
        "packed-unused": (
            "A certificate that no path names.",
            "NV-9",
            unused,
            [],
            "evidence.malformed",
        ),
        "ok-chain-only": ("What is not there is unknown.", "NV-40", evidence, [chain], "ok"),
        "ok-altered": (
            "Two measurements differ; a policy decides.",
            "NV-27",
            altered.evidence(NONCE),
            collateral(altered),
            "ok",
        ),
        "ok-debug": (
            "The leaf says debug; a policy decides.",
            "NV-40",
            debug.evidence(NONCE),
            [debug.chain],
            "ok",
        ),
        "other-kind": (
            "Another media type.",
            "NV-10",
            Evidence("a/b", evidence.body),
            [chain],
            "evidence.kind",
        ),
        "no-chain": ("The chain is missing.", "NV-10", evidence, [], "endorsement.missing"),
        "two-chains": (
            "A second chain.",
            "NV-10",
            evidence,
            [chain, second.chain],
            "endorsement.mismatch",
        ),
        "other-endorsement": (
            "Of no use here.",
            "NV-7",
            evidence,
            [chain, Endorsement("a/b", b"x")],
            "endorsement.malformed",
        ),
        "cut": (
            "One byte less.",
            "NV-2",
            Evidence(REPORT_MEDIA_TYPE, evidence.body[:-1]),
            [chain],
            "evidence.malformed",
        ),
        "longer": (
            "One byte more.",
            "NV-2",
            Evidence(REPORT_MEDIA_TYPE, evidence.body + b"\x00"),
            [chain],
            "evidence.malformed",
        ),
        "block-twice": (
            "Two blocks with one index.",
            "NV-3",
            report(HOPPER.sign(replace(good, blocks=(good.blocks[0], *good.blocks[:-1])))),
            [chain],
            "evidence.malformed",
        ),
        "nonce-changed": (
            "The nonce is signed.",
            "NV-12",
            report(old_nonce),
            [chain],
            "evidence.signature",
        ),
        "driver-changed": (
            "So is the opaque data.",
            "NV-12",
            report(other_driver),
            [chain],
            "evidence.signature",
        ),
        "other-gpu": (
            "A genuine chain of another GPU.",
            "NV-12",
            evidence,
            [second.chain],
            "evidence.signature",
        ),
        "other-root": (
            "Another maker's.",
            "NV-11",
            foreign.evidence(NONCE),
            [foreign.chain],
            "endorsement.anchor",
        ),
        "expired": (
            "The leaf is past.",
            "NV-11",
            expired.evidence(NONCE),
            [expired.chain],
            "endorsement.expired",
        ),
        "other-firmware": (
            "The leaf is of other firmware.",
            "NV-13",
            wrong_fwid.evidence(NONCE),
            [wrong_fwid.chain],
            "evidence.parts",
        ),
        "list-one-twice": (
            "One device as two.",
            "NV-15",
            Evidence(LIST_MEDIA_TYPE, twice),
            [],
            "evidence.parts",
        ),
        "list-two-nonces": (
            "An old report among new ones.",
            "NV-15",
            Evidence(LIST_MEDIA_TYPE, late),
            [],
            "evidence.parts",
        ),
        "list-other-arch": (
            "Not the chip's architecture.",
            "NV-14",
            Evidence(LIST_MEDIA_TYPE, wrong_arch),
            [],
            "evidence.parts",
        ),
        "list-empty": (
            "No GPU.",
            "NV-6",
            Evidence(LIST_MEDIA_TYPE, b"[]"),
            [],
            "evidence.malformed",
        ),
        "list-chain": (
            "A chain beside a list.",
            "NV-10",
            evidence_list([HOPPER], NONCE),
            [chain],
            "endorsement.mismatch",
        ),
        "rim-altered": (
            "A manifest with another index.",
            "NV-24",
            evidence,
            [chain, edited(driver, 'index="12"', 'index="13"')],
            "endorsement.signature",
        ),
        "rim-entity": (
            "A document type.",
            "NV-20",
            evidence,
            [chain, edited(driver, "<Soft", "<!DOCTYPE x><Soft")],
            "endorsement.malformed",
        ),
        "rim-wrapped": (
            "The reference points at a part.",
            "NV-23",
            evidence,
            [chain, edited(driver, 'URI=""', 'URI="#x"')],
            "endorsement.malformed",
        ),
        "rim-hmac": (
            "Another algorithm.",
            "NV-23",
            evidence,
            [chain, edited(driver, "#ecdsa-sha384", "#hmac-sha384")],
            "endorsement.malformed",
        ),
        "rim-expired": (
            "The signer's certificate is past.",
            "NV-25",
            evidence,
            [chain, MAKER.rim(MAKER.rim_content(HOPPER, "vbios"), validity=PAST)],
            "endorsement.expired",
        ),
        "rim-other-version": (
            "Of another driver.",
            "NV-26",
            evidence,
            [chain, manifest(HOPPER, "driver", version="1.2")],
            "endorsement.mismatch",
        ),
        "rim-other-chip": (
            "Of another chip.",
            "NV-26",
            evidence,
            [chain, manifest(BLACKWELL, "driver")],
            "endorsement.mismatch",
        ),
        "rim-twice": (
            "Two of one kind.",
            "NV-26",
            evidence,
            [chain, driver, driver],
            "endorsement.mismatch",
        ),
        "revoked": (
            "A certificate above the leaf.",
            "NV-28",
            evidence,
            [chain, *revoked],
            "endorsement.revoked",
        ),
        "stale": (
            "Lists that no longer count.",
            "NV-28",
            evidence,
            [chain, *stale],
            "endorsement.stale",
        ),
    }


CLAIMS = {
    "ok-hopper": {
        "measres": "success",
        "revocation": "good",
        "dbgstat": "disabled",
        "mismatched": [],
    },
    "ok-blackwell": {
        "measres": "success",
        "revocation": "good",
        "dbgstat": "disabled",
        "mismatched": [],
    },
    "ok-list": {"measres": "success", "revocation": "good", "gpus": 2},
    "ok-packed": {"measres": "success", "gpus": 2},
    "ok-chain-only": {"measres": "unknown", "revocation": "unknown", "dbgstat": "unknown"},
    "ok-altered": {"measres": "fail", "mismatched": ["driver:20", "vbios:3"]},
    "ok-debug": {"dbgstat": "enabled", "dice_flags": ["debug", "fixedWidth", "notConfigured"]},
}


def main(out: Path) -> None:
    """Write every case."""
    anchors = [each.hex() for each in MAKER.anchors]
    for name, (comment, clause, evidence, endorsements, expect) in cases().items():
        case: dict[str, object] = {
            "comment": comment,
            "clause": clause,
            "expect": expect,
            "anchors": anchors,
            "at": AT,
            "media_type": evidence.media_type,
            "body": evidence.body.hex(),
            "endorsements": [as_json(each) for each in endorsements],
        }
        if name in CLAIMS:
            case["claims"] = CLAIMS[name]
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
