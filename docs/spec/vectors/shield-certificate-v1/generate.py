"""Write the vectors of shield-certificate-v1. Running it again changes nothing."""

import datetime as dt
import json
import sys
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent


def write(out: Path, name: str, case: dict[str, object]) -> None:
    """Write one vector."""
    (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


AT = 1_800_000_000
NOTE = x509.ObjectIdentifier("2.25.273391094283751906240812377641329012477")
URI = "spiffe://example.test/lab/digits/serve/run-1"
CA_KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(8, ec.SECP256R1())
LEAF_KEY = ec.derive_private_key(9, ec.SECP256R1())
CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.test workload CA")])
GOOD_NOTE = {"policy": b"p" * 32, "hardware_rooted": False}


def instant(at: int) -> dt.datetime:
    """Seconds to a time."""
    return dt.datetime.fromtimestamp(at, tz=dt.UTC)


def builder(public: ec.EllipticCurvePublicKey, subject: x509.Name) -> x509.CertificateBuilder:
    """What authority and leaf share."""
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(CA_NAME).public_key(public)
    made = made.serial_number(1).not_valid_before(instant(AT - 300))
    return made.not_valid_after(instant(AT + 86400))


def authority(key: ec.EllipticCurvePrivateKey) -> bytes:
    """An authority's certificate."""
    made = builder(key.public_key(), CA_NAME).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return made.sign(key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.PEM)


def leaf(
    *, names: tuple[str, ...] = (URI,), note: bytes | None, key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A leaf's certificate."""
    made = builder(LEAF_KEY.public_key(), x509.Name([])).add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name) for name in names]),
        critical=True,
    )
    if note is not None:
        made = made.add_extension(x509.UnrecognizedExtension(NOTE, note), critical=False)
    return made.sign(key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def main(out: Path) -> None:
    """Write every case."""
    note = cbor2.dumps(GOOD_NOTE, canonical=True)
    good = leaf(note=note, key=CA_KEY)
    malformed = "certificate.malformed"
    cases: dict[str, tuple[str, str, bytes, int, str]] = {
        "ok": ("A workload's certificate.", "CERT-2", good, AT, "ok"),
        "ok-slow-clock": ("Five minutes early.", "CERT-5", good, AT - 300, "ok"),
        "other-authority": (
            "Signed by a key of the same name.",
            "CERT-10",
            leaf(note=note, key=OTHER_KEY),
            AT,
            "identity.tls",
        ),
        "not-yet-valid": ("Too early.", "CERT-11", good, AT - 301, "identity.clock"),
        "expired": ("Too late.", "CERT-11", good, AT + 86401, "identity.clock"),
        "no-note": (
            "Without the extension.",
            "CERT-12",
            leaf(note=None, key=CA_KEY),
            AT,
            malformed,
        ),
        "two-names": (
            "Two URIs.",
            "CERT-12",
            leaf(names=(URI, URI + "2"), note=note, key=CA_KEY),
            AT,
            malformed,
        ),
        "short-path": (
            "Three segments.",
            "CERT-3",
            leaf(names=("spiffe://example.test/lab/digits/serve",), note=note, key=CA_KEY),
            AT,
            malformed,
        ),
        "dots": (
            "A segment that climbs.",
            "CERT-3",
            leaf(names=("spiffe://example.test/lab/../serve/run-1",), note=note, key=CA_KEY),
            AT,
            malformed,
        ),
        "note-unknown-field": (
            "One field more.",
            "CERT-4",
            leaf(note=cbor2.dumps(GOOD_NOTE | {"x": 1}, canonical=True), key=CA_KEY),
            AT,
            "message.malformed",
        ),
        "note-without-rooted": (
            "hardware_rooted is missing.",
            "CERT-4",
            leaf(note=cbor2.dumps({"policy": b"p" * 32}, canonical=True), key=CA_KEY),
            AT,
            "message.malformed",
        ),
        "cut": ("The last byte is missing.", "CERT-10", good[:-1], AT, "identity.tls"),
    }
    pinned = authority(CA_KEY).decode()
    for name, (comment, clause, data, at, expect) in cases.items():
        case = {"comment": comment, "clause": clause, "expect": expect, "at": at}
        write(out, name, case | {"ca": pinned, "leaf": data.hex()})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
