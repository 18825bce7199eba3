"""Paths to pinned roots and revocation lists, with every way in which they can be wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from cloister.crypto import chain
from cloister.crypto.chain import (
    Certificate,
    RevocationList,
    read_pem_chain,
    read_plain_chain,
    require_path,
    to_pem,
)
from cloister.errors import CloisterError, EndorsementError, MalformedError, UnavailableError

START = 1_700_000_000
END = START + 1000
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "middle", "leaf")}


def instant(seconds: int) -> dt.datetime:
    """Return a time as certificates have it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def name(text: str) -> x509.Name:
    """Return a distinguished name."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass
class Spec:
    """One certificate to make; the tests change a field."""

    subject: str
    issuer: str
    signer: str
    ca: bool = True
    path_length: int | None = None
    start: int = START
    end: int = END
    sign: bool | None = True
    critical: bool = False
    serial: int = 7


def make(spec: Spec) -> Certificate:
    """Mint one."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(spec.subject))
        .issuer_name(name(spec.issuer))
        .public_key(KEYS[spec.subject].public_key())
        .serial_number(spec.serial)
        .not_valid_before(instant(spec.start))
        .not_valid_after(instant(spec.end))
        .add_extension(x509.BasicConstraints(spec.ca, spec.path_length), critical=True)
    )
    if spec.sign is not None:
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=spec.sign,
            crl_sign=spec.sign,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    if spec.critical:
        odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = builder.add_extension(odd, critical=True)
    made = builder.sign(KEYS[spec.signer], SHA256())
    return Certificate.from_der(made.public_bytes(Encoding.DER))


def specs() -> list[Spec]:
    """A leaf, an authority, a root."""
    return [
        Spec("leaf", "middle", "middle", ca=False, sign=False),
        Spec("middle", "root", "root", path_length=0),
        Spec("root", "root", "root"),
    ]


def check(
    path: list[Certificate], *, at: int = START, anchors: tuple[bytes, ...] | None = None
) -> bytes:
    """Check a path under its own root unless others are given."""
    accepted = (path[-1].fingerprint,) if anchors is None else anchors
    return require_path(path, anchors=accepted, algorithms={chain.ECDSA_SHA256}, at=at)


@pytest.mark.parametrize("at", [START, END])
def test_a_path_to_a_pinned_root_holds_to_both_ends(at: int) -> None:
    """The first and the last second count."""
    path = [make(spec) for spec in specs()]
    assert check(path, at=at) == path[-1].fingerprint


@pytest.mark.parametrize("at", [START - 1, END + 1])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_second_outside_does_not(at: int, which: int) -> None:
    """Whichever certificate it is, root included."""
    made = specs()
    for number, spec in enumerate(made):
        if number != which:
            spec.start, spec.end = START - 100, END + 100
    with pytest.raises(EndorsementError) as e:
        check([make(spec) for spec in made], at=at)
    assert e.value.code == "endorsement.expired"


def change(which: int, **values: object) -> Callable[[list[Spec]], None]:
    """Change one certificate of the path."""

    def apply(made: list[Spec]) -> None:
        for field, value in values.items():
            setattr(made[which], field, value)

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        change(0, signer="leaf"),
        change(0, issuer="root"),
        change(0, critical=True),
        change(1, ca=False, path_length=None),
        change(1, sign=False),
        change(1, signer="leaf"),
        change(2, path_length=0),
        change(2, ca=False),
    ],
)
def test_a_path_with_a_wrong_link_is_refused(damage: Callable[[list[Spec]], None]) -> None:
    """Other signer, other name, no authority, too long, or not understood."""
    made = specs()
    damage(made)
    with pytest.raises(EndorsementError) as e:
        check([make(spec) for spec in made])
    assert e.value.code == "endorsement.signature"


def test_without_key_usage_an_authority_may_sign() -> None:
    """Old roots of manufacturers have none."""
    made = specs()
    made[2].sign = None
    check([make(spec) for spec in made])


def test_a_name_breaks_no_line() -> None:
    """Names are the certificate's own words, and stand in errors."""
    key = KEYS["root"]
    builder = x509.CertificateBuilder().subject_name(name("a\nb\x1b[2J")).issuer_name(name("a"))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(instant(START)).not_valid_after(instant(END))
    made = builder.sign(key, SHA256()).public_bytes(Encoding.DER)
    assert Certificate.from_der(made).common_name == "a\ufffdb\ufffd[2J"


def test_what_the_caller_understands_may_be_critical() -> None:
    """By its object identifier only."""
    made = specs()
    made[0].critical = True
    path = [make(spec) for spec in made]
    arguments = {"anchors": {path[-1].fingerprint}, "algorithms": {chain.ECDSA_SHA256}}
    require_path(path, at=START, understood={"1.2.3.4"}, **arguments)
    with pytest.raises(EndorsementError):
        require_path(path, at=START, understood={"1.2.3.5"}, **arguments)


def test_another_root_is_refused() -> None:
    """Also one of the same name and key."""
    path = [make(spec) for spec in specs()]
    again = make(Spec("root", "root", "root", serial=8))
    for anchors in [(), (path[0].fingerprint,), (again.fingerprint,)]:
        with pytest.raises(EndorsementError) as e:
            check(path, anchors=anchors)
        assert e.value.code == "endorsement.anchor"


def test_a_path_has_a_length() -> None:
    """At least one certificate, at most eight."""
    root = make(specs()[2])
    for path in [[], [root] * 9]:
        with pytest.raises(EndorsementError) as e:
            require_path(
                path, anchors={root.fingerprint}, algorithms={chain.ECDSA_SHA256}, at=START
            )
        assert e.value.code == "endorsement.anchor"


def test_an_algorithm_that_the_profile_does_not_have_is_refused() -> None:
    """Though the signature holds."""
    path = [make(spec) for spec in specs()]
    with pytest.raises(EndorsementError) as e:
        require_path(
            path, anchors={path[-1].fingerprint}, algorithms={chain.ECDSA_SHA384}, at=START
        )
    assert e.value.code == "endorsement.signature"


def test_rsa_pss_paths_hold() -> None:
    """As AMD's have them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made = (
        x509.CertificateBuilder()
        .subject_name(name("root"))
        .issuer_name(name("root"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(instant(START))
        .not_valid_after(instant(END))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA384(), rsa_padding=padding.PSS(padding.MGF1(SHA384()), 48))
    )
    root = Certificate.from_der(made.public_bytes(Encoding.DER))
    require_path([root], anchors={root.fingerprint}, algorithms={chain.RSA_PSS}, at=START)


def test_pem_is_read_in_order() -> None:
    """And nothing else is read."""
    path = [make(spec) for spec in specs()]
    pem = b"".join(
        x509.load_der_x509_certificate(each.der).public_bytes(Encoding.PEM) for each in path
    )
    assert [each.der for each in read_pem_chain(pem)] == [each.der for each in path]
    assert to_pem([each.der for each in path]) == pem
    for text in [b"", b"-----BEGIN CERTIFICATE-----", pem * 3, pem + b"\n" * 300_000]:
        with pytest.raises(MalformedError):
            read_pem_chain(text)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x00", b"x" * 20_000])
def test_what_is_no_certificate_is_malformed(data: bytes) -> None:
    """Nor a list; only our error comes out."""
    for read in (Certificate.from_der, RevocationList.from_der):
        with pytest.raises(MalformedError) as e:
            read(data)
        assert e.value.code == "certificate.malformed"


def test_a_version_that_there_is_not_is_malformed() -> None:
    """The library has an error of its own for it, which is no ValueError."""
    der = make(specs()[0]).der
    version = der.index(bytes.fromhex("a003020102"))
    changed = der[: version + 4] + b"\x42" + der[version + 5 :]
    with pytest.raises(MalformedError) as e:
        Certificate.from_der(changed)
    assert e.value.code == "certificate.malformed"


def test_each_changed_bit_of_a_certificate_is_refused() -> None:
    """As malformed or by its signature; nothing else is raised."""
    path = [make(spec) for spec in specs()]
    der = path[0].der
    for position in range(0, len(der), 3):
        changed = bytearray(der)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(CloisterError):
            check([Certificate.from_der(bytes(changed)), *path[1:]])


def revocations(
    *serials: int,
    signer: str = "root",
    issuer: str = "root",
    next_update: bool = True,
    critical: bool = False,
) -> RevocationList:
    """Mint a revocation list."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name(issuer))
        .last_update(instant(START))
        .next_update(instant(END))
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        entry = entry.revocation_date(instant(START))
        if critical:
            odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
            entry = entry.add_extension(odd, critical=True)
        builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign(KEYS[signer], SHA256())
    return RevocationList.from_der(made.public_bytes(Encoding.DER))


def test_a_revoked_certificate_is_refused() -> None:
    """By its serial number."""
    root, middle = make(specs()[2]), make(specs()[1])
    listed = revocations(1, 7)
    for at in (START, END):
        listed.require_from(root, {chain.ECDSA_SHA256}, at=at)
    with pytest.raises(EndorsementError) as e:
        listed.require_not_revoked(middle)
    assert e.value.code == "endorsement.revoked"
    revocations(1).require_not_revoked(middle)


@pytest.mark.parametrize("at", [START - 1, END + 1])
def test_an_old_or_future_list_decides_nothing(at: int) -> None:
    """`thisUpdate` counts as much as `nextUpdate`."""
    with pytest.raises(UnavailableError) as e:
        revocations().require_from(make(specs()[2]), {chain.ECDSA_SHA256}, at=at)
    assert e.value.code == "endorsement.stale"


def test_a_list_by_somebody_else_is_refused() -> None:
    """By key, by name, by algorithm, or by an issuer that may not sign lists."""
    root = make(specs()[2])
    silent = make(Spec("root", "root", "root", sign=False))
    cases = [
        (revocations(signer="leaf"), root, chain.ECDSA_SHA256),
        (revocations(issuer="middle"), root, chain.ECDSA_SHA256),
        (revocations(), root, chain.ECDSA_SHA384),
        (revocations(), silent, chain.ECDSA_SHA256),
    ]
    for listed, issuer, algorithm in cases:
        with pytest.raises(EndorsementError) as e:
            listed.require_from(issuer, {algorithm}, at=START)
        assert e.value.code == "endorsement.signature"


def test_a_list_says_nothing_of_others_certificates() -> None:
    """So asking it about one is refused."""
    with pytest.raises(EndorsementError) as e:
        revocations().require_not_revoked(make(specs()[0]))
    assert e.value.code == "endorsement.mismatch"


def test_a_critical_extension_of_an_entry_is_not_understood() -> None:
    """Such a list may mean anything."""
    with pytest.raises(MalformedError):
        revocations(7, critical=True)


def test_a_name_with_lengths_that_x520_does_not_have_is_malformed() -> None:
    """The library only warns of it; here it is the same error whatever becomes of warnings."""
    der = make(Spec("root", "root", "root")).der
    country = bytes.fromhex("0603550406")  # in the place of the common name, and too long for it
    assert der.count(bytes.fromhex("0603550403")) == 2
    changed = der.replace(bytes.fromhex("0603550403"), country)
    with pytest.raises(MalformedError) as e:
        Certificate.from_der(changed)
    assert e.value.code == "certificate.malformed"


def test_a_certificate_that_stands_twice_in_a_path_is_refused() -> None:
    """A root issued itself, so its signature would hold."""
    path = [
        make(Spec("leaf", "root", "root", ca=False)),
        make(Spec("root", "root", "root")),
    ]
    arguments = {
        "anchors": (path[-1].fingerprint,), "algorithms": (chain.ECDSA_SHA256,), "at": START
    }  # fmt: skip
    require_path(path, **arguments)
    with pytest.raises(EndorsementError) as e:
        require_path([*path, path[-1]], **arguments)
    assert e.value.code == "endorsement.signature"


def test_plain_pem_is_one_text() -> None:
    """Chains in evidence: nothing beside the blocks, and lines of one length."""
    ders = [make(Spec(each, "root", "root")).der for each in ("leaf", "root")]
    text = to_pem(ders)
    for good in (text, text[:-1]):
        assert [each.der for each in read_plain_chain(good)] == ders
    for other in (
        b"words\n" + text,
        text + b"words\n",
        text + b"\n",
        text.replace(b"\n", b"\r\n"),
        text.replace(b"-----\n", b"-----\nProc-Type: 4\n\n", 1),
        b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n" + text,
        text.replace(b"\n", b" \n", 3),
    ):
        with pytest.raises(MalformedError) as e:
            read_plain_chain(other)
        assert e.value.code == "certificate.malformed"
