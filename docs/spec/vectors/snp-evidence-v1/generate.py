"""Write the vectors of snp-evidence-v1. Running it again changes nothing."""

import dataclasses
import json
import sys
from pathlib import Path

from cloister.attestation.evidence import Endorsement
from cloister.testing.manufacturers.amd import SimulatedAmd

HERE = Path(__file__).parent
KIND = "application/vnd.cloister.snp"
DATA = b"d" * 64
AMDS = {product: SimulatedAmd(b"vectors", product) for product in ("Milan", "Genoa", "Turin")}
AMD = AMDS["Milan"]
CHIP = AMD.chip()
BODY = CHIP.report(report_data=DATA)
GIVEN = AMD.endorsements(CHIP)
NOW = AMD.now


def case(
    comment: str,
    clause: str,
    expect: str,
    *,
    body: bytes = BODY,
    given: list[Endorsement] = GIVEN,
    at: int = NOW,
    kind: str = KIND,
    anchors: tuple[bytes, ...] = (AMD.anchor,),
) -> dict[str, object]:
    """One vector."""
    return {
        "comment": comment,
        "clause": clause,
        "expect": expect,
        "anchors": [anchor.hex() for anchor in anchors],
        "at": at,
        "media_type": kind,
        "body": body.hex(),
        "endorsements": [{"media_type": x.media_type, "body": x.body.hex()} for x in given],
    }


def flip(data: bytes, place: int) -> bytes:
    """Change one bit."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def cases() -> dict[str, dict[str, object]]:
    """Every case by name."""
    turin, provider = AMDS["Turin"], AMD.chip(kind="VLEK")
    turin_chip, other = turin.chip(), AMD.chip("other")
    unsigned = dataclasses.replace(CHIP.fields(), key_info=0x1C)
    revoked = AMD.revocations(serials=(AMD.issuer_serial("VCEK"),))
    swapped = GIVEN[1].body.split(b"-----END CERTIFICATE-----\n")[:2]
    root_first = b"".join(x + b"-----END CERTIFICATE-----\n" for x in swapped[::-1])
    theirs = SimulatedAmd(b"another", "Milan").chain().split(b"-----END CERTIFICATE-----\n")
    other_issuer = b"".join(x + b"-----END CERTIFICATE-----\n" for x in (theirs[0], swapped[1]))
    return {
        "ok": case("Milan, version 5, a chip's key.", "SNP-29", "ok"),
        "ok-turin-v3": case(
            "Turin, version 3.",
            "SNP-6",
            "ok",
            body=turin_chip.report(version=3, report_data=DATA),
            given=turin.endorsements(turin_chip),
            anchors=(turin.anchor,),
        ),
        "ok-vlek-v2": case(
            "Milan, version 2, a provider's key.",
            "SNP-27",
            "ok",
            body=provider.report(version=2, report_data=DATA),
            given=AMD.endorsements(provider),
        ),
        "ok-debug": case(
            "It may allow debugging; a policy decides.",
            "SNP-29",
            "ok",
            body=CHIP.report(report_data=DATA, policy=0xB0000),
        ),
        "ok-no-list": case("Without a list: a claim.", "SNP-24", "ok", given=GIVEN[:2]),
        "no-anchors": case("No anchor at all.", "SNP-20", "config.missing", anchors=()),
        "other-kind": case("Another media type.", "SNP-21", "evidence.kind", kind="a/b"),
        "short": case("1 183 bytes.", "SNP-2", "evidence.malformed", body=BODY[:-1]),
        "reserved": case("A reserved byte.", "SNP-3", "evidence.malformed", body=flip(BODY, 0x4C)),
        "behind-the-signature": case(
            "A byte that nobody signed.", "SNP-3", "evidence.malformed", body=flip(BODY, 0x49F)
        ),
        "version-6": case("Version 6.", "SNP-4", "evidence.malformed", body=b"\x06" + BODY[1:]),
        "unsigned": case(
            "The platform signs nothing.", "SNP-21", "evidence.signature", body=unsigned.to_bytes()
        ),
        "no-certificate": case(
            "The certificate is missing.", "SNP-7", "endorsement.missing", given=GIVEN[1:]
        ),
        "two-certificates": case(
            "Two certificates.", "SNP-7", "endorsement.malformed", given=[*GIVEN, GIVEN[0]]
        ),
        "root-first": case(
            "The chain begins with its root.",
            "SNP-22",
            "endorsement.anchor",
            given=[GIVEN[0], Endorsement(GIVEN[1].media_type, root_first)],
        ),
        "other-anchor": case(
            "Another root is pinned.",
            "SNP-22",
            "endorsement.anchor",
            anchors=(SimulatedAmd(b"another", "Milan").anchor,),
        ),
        "other-root-key": case(
            "An issuer that another root of that name signed.",
            "SNP-23",
            "endorsement.signature",
            given=[GIVEN[0], Endorsement(GIVEN[1].media_type, other_issuer)],
        ),
        "expired": case(
            "Eight years later.",
            "SNP-23",
            "endorsement.expired",
            given=GIVEN[:2],
            at=NOW + 8 * 365 * 86400,
        ),
        "stale-list": case(
            "The list is too old.", "SNP-24", "endorsement.stale", at=NOW + 366 * 86400
        ),
        "revoked": case(
            "The issuer is on the list.",
            "SNP-24",
            "endorsement.revoked",
            given=AMD.endorsements(CHIP, revocations=revoked),
        ),
        "foreign-list": case(
            "Another product's list.",
            "SNP-24",
            "endorsement.signature",
            given=AMD.endorsements(CHIP, revocations=AMDS["Genoa"].revocations()),
        ),
        "foreign-issuer": case(
            "The issuer of providers' keys signed a chip's.",
            "SNP-25",
            "endorsement.signature",
            given=AMD.endorsements(AMD.chip(issuer="VLEK")),
        ),
        "other-hash": case(
            "A certificate that names SHA-256.",
            "SNP-11",
            "certificate.malformed",
            given=[
                Endorsement(
                    GIVEN[0].media_type,
                    CHIP.certificate.replace(
                        bytes.fromhex("0609608648016503040202"),
                        bytes.fromhex("0609608648016503040201"),
                    ),
                ),
                *GIVEN[1:],
            ],
        ),
        "other-product": case(
            "A Genoa processor under Milan's chain.",
            "SNP-26",
            "endorsement.mismatch",
            body=CHIP.report(report_data=DATA, cpuid=b"\x19\x11\x01"),
        ),
        "unknown-product": case(
            "A processor that nobody knows.",
            "SNP-5",
            "evidence.kind",
            body=CHIP.report(report_data=DATA, cpuid=b"\x19\x51\x01"),
        ),
        "other-chip": case(
            "A genuine certificate of another chip.",
            "SNP-27",
            "endorsement.mismatch",
            given=AMD.endorsements(other),
        ),
        "older-key": case(
            "The same chip's certificate for older firmware.",
            "SNP-27",
            "endorsement.mismatch",
            given=AMD.endorsements(AMD.chip(tcb={"snp": 8})),
        ),
        "flipped-signature": case(
            "One bit of r.", "SNP-28", "evidence.signature", body=flip(BODY, 0x2A0)
        ),
        "flipped-measurement": case(
            "One bit of the measurement.", "SNP-28", "evidence.signature", body=flip(BODY, 0x90)
        ),
    }


def main(out: Path) -> None:
    """Write every case."""
    for name, each in cases().items():
        (out / f"{name}.json").write_text(json.dumps(each, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
