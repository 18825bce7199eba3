"""Write the vectors of private-query-v1. Running it again changes nothing.

An implementation of its own, from the page, RFC 9458, RFC 9292 and RFC 9180; X-Wing from its
draft. ECDSA signatures are made with the deterministic nonces of RFC 6979.
"""

import datetime as dt
import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

WRITTEN: dict[str, str] = {}
BAD = "message.malformed"
NOW = 1_800_000_000
POLICY = bytes(range(32))
POLICY_OID = x509.ObjectIdentifier("2.25.273391094283751906240812377641329012477")
SERVER = "spiffe://clinic.example/clinic/digits/serve/i-1"
SECRET = bytes(range(96))  # the private key of X-Wing: ML-KEM's seed, X25519's key
# Encapsulation is random: one result, whose secret the private key gives again.
ENC = Path(__file__).with_name("enc.hex")
SEED = b"\x13" * 32


def write(name: str, clause: str, comment: str, **case: Any) -> None:
    """Keep one vector."""
    whole = {"clause": clause, "kind": name.partition("-")[0], "comment": comment} | case
    WRITTEN[f"{name}.json"] = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def framed(*parts: bytes) -> bytes:
    """What a signature with a label covers."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


# Keys and certificates.


def p256(number: int) -> ec.EllipticCurvePrivateKey:
    """A key from a number."""
    return ec.derive_private_key(number, ec.SECP256R1())


def authority(number: int) -> x509.Certificate:
    """The CA of a trust domain."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clinic.example workload CA")])
    return (
        base(p256(number), name, number)
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(p256(number), SHA256(), ecdsa_deterministic=True)
    )


def base(key: ec.EllipticCurvePrivateKey, issuer: x509.Name, serial: int) -> Any:
    """What all certificates have alike."""
    first = dt.datetime.fromtimestamp(NOW - 300, tz=dt.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(first)
        .not_valid_after(first + dt.timedelta(hours=12))
    )


def leaf(number: int, signer: int, uri: str = SERVER) -> bytes:
    """The certificate of a workload, DER."""
    note = cbor2.dumps({"policy": POLICY, "hardware_rooted": False}, canonical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    return (
        base(p256(number), authority(signer).subject, number)
        .subject_name(x509.Name([]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(names, critical=True)
        .add_extension(x509.UnrecognizedExtension(POLICY_OID, note), critical=False)
        .sign(p256(signer), SHA256(), ecdsa_deterministic=True)
        .public_bytes(Encoding.DER)
    )


def signature(number: int, label: bytes, message: bytes) -> bytes:
    """By a certificate's key."""
    algorithm = ec.ECDSA(SHA256(), deterministic_signing=True)
    return p256(number).sign(framed(label, message), algorithm)


def public() -> bytes:
    """X-Wing's public key."""
    lattice = MLKEM768PrivateKey.from_seed_bytes(SECRET[:64]).public_key().public_bytes_raw()
    return (
        lattice + X25519PrivateKey.from_private_bytes(SECRET[64:]).public_key().public_bytes_raw()
    )


CONFIGURATION = b"\7\x64\x7a" + public() + b"\0\4\0\1\0\2"
STATEMENT: dict[str, Any] = {
    "format": "cloister/private-keys/v1", "configuration": CONFIGURATION, "not_before": NOW,
    "not_after": NOW + 3600, "models": {"digits": 2048}, "other": 1024, "request_bytes": 1 << 20,
    "window": 60,
}  # fmt: skip


def document(good: bytes, **changes: Any) -> bytes:
    """What a server shows."""
    whole = {
        "statement": good,
        "certificate": leaf(2, 1),
        "signature": signature(2, b"cloister/private-keys/v1", good),
    }
    return cbor2.dumps(whole | changes, canonical=True)


def encoded(**changes: Any) -> bytes:
    """A statement with other fields."""
    return cbor2.dumps(STATEMENT | changes, canonical=True)


def keys() -> None:
    """What a client takes for a key configuration."""
    ca = authority(1).public_bytes(Encoding.PEM).decode()
    good = encoded()

    def each(name: str, clause: str, comment: str, data: bytes, expect: str, **more: Any) -> None:
        pins = {"ca": ca, "identity": SERVER, "policy": POLICY.hex(), "at": NOW + 10}
        write(f"keys-{name}", clause, comment, bytes=data.hex(), expect=expect, **(pins | more))

    each("ok", "PQ-1", "A server's present key.", document(good), "ok", digest=sha256(good).hex())
    each("late", "PQ-60", "A second after its end.", document(good), "private.keys", at=NOW + 3601)
    each("early", "PQ-60", "Made in the future.", document(good), "private.keys", at=NOW - 200)
    each("policy", "PQ-60", "Another policy is pinned.", document(good), "identity.policy",
         policy=bytes(32).hex())  # fmt: skip
    each("role", "PQ-60", "Another role is named.", document(good), "identity.peer",
         identity=SERVER.replace("serve", "train"))  # fmt: skip
    each("authority", "PQ-60", "Another authority of the same name.",
         document(good, certificate=leaf(2, 3)), "identity.tls")  # fmt: skip
    each("changed", "PQ-9", "The statement after it was signed.",
         document(good, statement=encoded(other=4096)), "private.keys")  # fmt: skip
    each("signature", "PQ-1", "By another certificate's key.",
         document(good, signature=signature(4, b"cloister/private-keys/v1", good)),
         "private.keys")  # fmt: skip
    each("label", "PQ-1", "Signed as a query.",
         document(good, signature=signature(2, b"cloister/private-query/v1", good)),
         "private.keys")  # fmt: skip
    each("more", "PQ-1", "A field that the page does not have.", document(good, more=1), BAD)
    for name, clause, comment, changes in (
        ("long", "PQ-4", "Good for more than a day.", {"not_after": NOW + 86401}),
        ("small", "PQ-4", "Answers that are too short.", {"other": 1023}),
        ("window", "PQ-4", "A window of two hours.", {"window": 7200}),
        ("aead", "PQ-3", "AES-128-GCM.", {"configuration": CONFIGURATION[:-1] + b"\1"}),
        ("kem", "PQ-3", "X25519 alone.", {"configuration": b"\7\0\x20" + CONFIGURATION[3:]}),
        ("field", "PQ-2", "A field that the page does not have.", {"more": 1}),
        ("format", "PQ-2", "Another format.", {"format": "cloister/private-keys/v2"}),
    ):
        each(name, clause, comment, document(encoded(**changes)), BAD)


# Encapsulation.


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand, of one block or two."""
    first = hmac.digest(key, info + b"\1", "sha256")
    return (first + hmac.digest(key, first + info + b"\2", "sha256"))[:length]


SUITE = b"HPKE\x64\x7a\0\1\0\2"


def labelled(salt: bytes, label: bytes, secret: bytes) -> bytes:
    """LabeledExtract."""
    return extract(salt, b"HPKE-v1" + SUITE + label + secret)


def derived(key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand."""
    return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info, length)


def shared(enc: bytes) -> bytes:
    """X-Wing's shared secret."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey  # noqa: PLC0415  # for this vector only

    lattice = MLKEM768PrivateKey.from_seed_bytes(SECRET[:64]).decapsulate(enc[:1088])
    curve = X25519PrivateKey.from_private_bytes(SECRET[64:]).exchange(
        X25519PublicKey.from_public_bytes(enc[1088:])
    )
    return hashlib.sha3_256(lattice + curve + enc[1088:] + public()[1184:] + b"\\.//^\\").digest()


def schedule(enc: bytes, header: bytes, purpose: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, nonce and exporter of a request."""
    info = purpose + b" request\0" + header
    context = b"\0" + labelled(b"", b"psk_id_hash", b"") + labelled(b"", b"info_hash", info)
    secret = labelled(shared(enc), b"secret", b"")
    return (
        derived(secret, b"key", context, 32),
        derived(secret, b"base_nonce", context, 12),
        derived(secret, b"exp", context, 32),
    )


PURPOSE = b"cloister/private-query/v1"


def sealed(plaintext: bytes, purpose: bytes = PURPOSE) -> tuple[bytes, bytes]:
    """An encapsulated request, and one answer to it."""
    enc = bytes.fromhex(ENC.read_text("ascii"))
    header = CONFIGURATION[:3] + CONFIGURATION[-4:]
    key, nonce, exporter = schedule(enc, header, purpose)
    request = header + enc + AESGCM(key).encrypt(nonce, plaintext, b"")
    secret = derived(exporter, b"sec", purpose + b" response", 32)
    drawn = bytes(range(32))
    random = extract(enc + drawn, secret)
    answer = AESGCM(expand(random, b"key", 32)).encrypt(
        expand(random, b"nonce", 12), b"answer", b""
    )
    return request, drawn + answer


def requests() -> None:
    """What a server opens."""
    request, answer = sealed(b"question")

    def each(name: str, clause: str, comment: str, data: bytes, expect: str, **more: Any) -> None:
        given = {"secret": SECRET.hex(), "key_id": 7}
        whole = given | more
        write(f"request-{name}", clause, comment, bytes=data.hex(), expect=expect, **whole)

    more = {"plaintext": b"question".hex(), "nonce": bytes(range(32)).hex(), "answer": answer.hex()}
    each("ok", "PQ-10", "A request and an answer to it.", request, "ok", **more)
    changed = request[:-1] + bytes([request[-1] ^ 1])
    enc = request[:20] + bytes([request[20] ^ 1]) + request[21:]
    each("changed", "PQ-14", "The last bit.", changed, BAD)
    each("enc", "PQ-14", "The encapsulated key.", enc, BAD)
    each("cut", "PQ-14", "A byte less.", request[:-1], BAD)
    each("short", "PQ-14", "Without ciphertext.", request[:1127], BAD)
    each("empty", "PQ-14", "Nothing.", b"", BAD)
    each("aead", "PQ-14", "Says AES-128-GCM.", request[:6] + b"\1" + request[7:], BAD)
    each(
        "ohttp",
        "PQ-10",
        "Sealed as RFC 9458 has it.",
        sealed(b"question", b"message/bhttp")[0],
        BAD,
    )


# Who asks.


def signed(kind: int, asker: bytes, inner: bytes = b"inner") -> tuple[bytes, bytes]:
    """What is sealed, and what is signed."""
    enc, keys, nonce = b"\2" * 1120, b"\1" * 32, bytes(range(16))
    message = bytes([7, kind]) + NOW.to_bytes(8, "big") + nonce + keys
    message += sha256(enc) + sha256(asker) + sha256(inner)
    if kind == 1:
        key = Ed25519PrivateKey.from_private_bytes(SEED)
        found = key.sign(framed(PURPOSE, message))
    else:
        found = signature(5, PURPOSE, message)
    head = struct.pack(">4sB3xQ16sHH", b"CPQ1", kind, NOW, nonce, len(asker), len(found))
    return head + asker + found + inner, message


def askers() -> None:
    """Who asked, as a server finds it."""
    client = "spiffe://clinic.example/clinic/digits/client/i-1"
    by_key, message = signed(1, b"alice")
    by_certificate, _ = signed(2, leaf(5, 1, client))

    def each(name: str, clause: str, comment: str, data: bytes, expect: str, **more: Any) -> None:
        given = {
            "ca": authority(1).public_bytes(Encoding.PEM).decode(), "clients": [client],
            "keys": {"alice": Ed25519PrivateKey.from_private_bytes(SEED).public_key()
                     .public_bytes_raw().hex()},
            "binding": {"keys": (b"\1" * 32).hex(), "key_id": 7, "enc": (b"\2" * 1120).hex()},
            "at": NOW,
        }  # fmt: skip
        write(f"signed-{name}", clause, comment, bytes=data.hex(), expect=expect, **(given | more))

    each("key", "PQ-22", "A principal.", by_key, "ok", asker="alice", message=message.hex(),
         inner=b"inner".hex())  # fmt: skip
    each("certificate", "PQ-22", "A certificate of the listener's rule.", by_certificate, "ok",
         asker=client, inner=b"inner".hex())  # fmt: skip
    no = "private.asker"
    each("unknown", "PQ-23", "A name that nobody has.", signed(1, b"mallory")[0], no)
    each("inner", "PQ-21", "A byte more inside.", by_key + b"\0", no)
    each(
        "time", "PQ-21", "A second later.", by_key[:15] + bytes([by_key[15] ^ 1]) + by_key[16:], no
    )
    each("nonce", "PQ-21", "Another nonce.", by_key[:16] + b"\xff" + by_key[17:], no)
    each("role", "PQ-22", "A certificate of another role.",
         signed(2, leaf(5, 1, client.replace("client", "train")))[0], no)  # fmt: skip
    each("authority", "PQ-22", "A certificate of another authority.",
         signed(2, leaf(5, 3, client))[0], no)  # fmt: skip
    each("expired", "PQ-22", "After the certificate's end.", by_certificate, no, at=NOW + 86400)
    for key, value in (("keys", b"\3" * 32), ("enc", b"\3" * 1120)):
        binding = {"keys": (b"\1" * 32).hex(), "key_id": 7, "enc": (b"\2" * 1120).hex()}
        each(f"other-{key}", "PQ-21", "Made for another key or envelope.", by_key, no,
             binding=binding | {key: value.hex()})  # fmt: skip
    each("magic", "PQ-20", "Another version.", b"CPQ2" + by_key[4:], BAD)
    each("kind", "PQ-20", "A third kind.", by_key[:4] + b"\3" + by_key[5:], BAD)
    each("zeros", "PQ-20", "A byte that is not zero.", by_key[:7] + b"\1" + by_key[8:], BAD)
    each("short", "PQ-20", "Cut within the signature.", by_key[:60], BAD)
    each("nobody", "PQ-20", "An asker of no bytes.", signed(1, b"")[0], BAD)


# Inner messages.


def counted(*parts: bytes) -> bytes:
    """Each with its length in one byte."""
    return b"".join(bytes([len(part)]) + part for part in parts)


def inner() -> None:
    """Binary HTTP, as both sides read it."""
    control = b"\0" + counted(b"POST", b"https", b"", b"/v2/models/a/infer")
    field = counted(b"content-type", b"application/json")
    good = control + counted(field) + counted(b"{}") + b"\0"

    def each(
        name: str, clause: str, comment: str, data: bytes, expect: str = BAD, **more: Any
    ) -> None:
        write(f"bhttp-{name}", clause, comment, bytes=data.hex(), expect=expect, **more)

    each("request", "PQ-30", "A request.", good, "ok", message="request", method="POST",
         target="/v2/models/a/infer", headers={"content-type": "application/json"},
         body=b"{}".hex(), canonical=True)  # fmt: skip
    each("padded", "PQ-33", "Zeros after it.", good + bytes(9), "ok", message="request",
         method="POST", target="/v2/models/a/infer",
         headers={"content-type": "application/json"}, body=b"{}".hex())  # fmt: skip
    each("bare", "PQ-33", "What is empty left out.", control, "ok", message="request",
         method="POST", target="/v2/models/a/infer", headers={}, body="")  # fmt: skip
    each("response", "PQ-30", "A response.", b"\1\x40\xc8" + counted(b"", b"yes") + b"\0", "ok",
         message="response", status=200, headers={}, body=b"yes".hex(), canonical=True)  # fmt: skip
    for name, clause, comment, data in (
        ("interim", "PQ-30", "An interim response.", b"\1\x40\x66\0\x40\xc8\0\0\0"),
        ("unbounded", "PQ-30", "Of unknown length.", b"\2" + good[1:]),
        ("trailers", "PQ-30", "With trailers.", good[:-1] + counted(field)),
        ("long-number", "PQ-30", "A length in two bytes that fits in one.",
         b"\0\x40\4POST" + good[6:]),
        ("scheme", "PQ-31", "Another scheme.", good.replace(b"\5https", b"\4http")),
        ("target", "PQ-31", "A target that is a URL.", good.replace(b"/v2/models", b"http://a.b")),
        ("method", "PQ-31", "A method with a space.", good.replace(b"POST", b"PO T")),
        ("upper", "PQ-32", "A name in capitals.", good.replace(b"content-t", b"Content-t")),
        ("twice", "PQ-32", "A field twice.", control + counted(field * 2) + b"\0\0"),
        ("line", "PQ-32", "A value of two lines.",
         good.replace(b"application/", b"applicatio\r\n")),
        ("host", "PQ-32", "A field of the connection.",
         control + counted(counted(b"connection", b"close")) + b"\0\0"),
        ("rest", "PQ-33", "Something other than zeros behind it.", good + b"\0\1"),
        ("cut", "PQ-33", "Cut off within the content.", good[:-2]),
        ("empty", "PQ-30", "Nothing.", b""),
        ("status", "PQ-30", "No status.", b"\1\x42\x58\0\0\0"),
        ("huge", "PQ-32", "Fields longer than the limit.",
         control + b"\x80\0\x40\1" + bytes(16385)),
    ):  # fmt: skip
        each(name, clause, comment, data)


if __name__ == "__main__":
    keys()
    requests()
    askers()
    inner()
    for file, text in WRITTEN.items():
        Path(__file__).with_name(file).write_text(text, encoding="utf-8")
