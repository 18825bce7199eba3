"""Signed tokens for other systems: compact JWS (RFC 7515) under keys that the reader has pinned.

Two algorithms, `EdDSA` with Ed25519 (RFC 8037) and `ES256`. A key fixes its algorithm; a header
that names another one is refused, and nothing in a header can bring a key or say where one lies.
Keys have one name, their RFC 7638 thumbprint, so that a name cannot be moved to another key.

Example::

    keys = KeySet.from_bytes(pinned_jwks)
    token = verify_compact(text, keys=keys, types=("eat+jwt",))     # raises, or holds

Spec: ear-v1, clauses EAR-1 to EAR-14.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from cloister.crypto.digest import sha256
from cloister.errors import EvidenceError, MalformedError
from cloister.wire import Fields, Value
from cloister.wire.strict_json import read_json, write_json

__all__ = [
    "MAX_JWKS_BYTES",
    "MAX_JWKS_KEYS",
    "MAX_TOKEN_BYTES",
    "Algorithm",
    "KeySet",
    "TokenSigningKey",
    "TokenVerifyingKey",
    "VerifiedToken",
    "from_base64url",
    "jwks_document",
    "sign_compact",
    "to_base64url",
    "verify_compact",
]

Algorithm = Literal["EdDSA", "ES256"]

MAX_TOKEN_BYTES: Final = 262144
MAX_JWKS_BYTES: Final = 65536
MAX_JWKS_KEYS: Final = 64
_MAX_HEADER_BYTES: Final = 1024
_MAX_HEADER_DEPTH: Final = 4
_MAX_JWKS_DEPTH: Final = 4
_MAX_TEXT: Final = 128
_COORDINATE_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_PARTS: Final = 3
_KID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")
# What a header could use to bring a key, to say where one lies, or to change what is signed.
_REFUSED_IN_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip")
# What only a private key has (RFC 7518, section 6; RFC 8037).
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(problem, code="token.malformed")


def to_base64url(data: bytes) -> str:
    """Write base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str, *, what: str) -> bytes:
    """Read base64url without padding, in its one spelling.

    Raises:
        MalformedError: Another alphabet, padding, or bits that no byte has (`token.malformed`).
    """
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise _malformed(f"{what} is not base64url without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(data) != text:
        raise _malformed(f"{what} is not in the one spelling of base64url")
    return data


class TokenVerifyingKey:
    """A public key for tokens, with the one algorithm that it is used with.

    Attributes:
        algorithm: As headers spell it.
        kid: Its name: the RFC 7638 thumbprint, SHA-256, base64url.
        jwk: Its public members (RFC 7517) as the thumbprint hashes them.
    """

    __slots__ = ("_key", "algorithm", "jwk", "kid")

    def __init__(self, key: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> None:
        """Wrap a key of the underlying library; an EC key is on P-256."""
        self._key = key
        members: dict[str, str]
        if isinstance(key, Ed25519PublicKey):
            algorithm: Algorithm = "EdDSA"
            x = to_base64url(key.public_bytes_raw())
            members = {"crv": "Ed25519", "kty": "OKP", "x": x}
        elif isinstance(key.curve, ec.SECP256R1):
            algorithm = "ES256"
            numbers = key.public_numbers()
            x, y = (
                to_base64url(number.to_bytes(_COORDINATE_BYTES, "big"))
                for number in (numbers.x, numbers.y)
            )
            members = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        else:
            raise _malformed("an EC key for tokens is on P-256")
        self.algorithm: Final = algorithm
        self.jwk: Final[Mapping[str, str]] = members
        # The members are in the order of their names already, as RFC 7638 wants them.
        self.kid: Final = to_base64url(sha256(write_json(members)))

    @classmethod
    def from_jwk(cls, value: Mapping[str, Value]) -> TokenVerifyingKey:
        """Read one untrusted member of a JWKS: a public key whose `kid` is its thumbprint.

        Raises:
            MalformedError: A private key, another type or curve, a point that is not on the curve,
                another name than the thumbprint, another use than verifying, or a member that this
                reader does not know and that may forbid what it is about to do.
        """
        if any(name in value for name in _PRIVATE_MEMBERS):
            raise _malformed("a JWKS holds public keys; this one has a private member")
        fields = Fields(value, what="JWK", code="token.malformed")
        kind = fields.text("kty", max_length=_MAX_TEXT)
        curve = fields.text("crv", max_length=_MAX_TEXT)
        if (kind, curve) == ("OKP", "Ed25519"):
            key = cls(Ed25519PublicKey.from_public_bytes(_coordinate(fields, "x")))
        elif (kind, curve) == ("EC", "P-256"):
            key = cls(_p256(_coordinate(fields, "x"), _coordinate(fields, "y")))
        else:
            raise _malformed("a key for tokens is Ed25519 or P-256")
        if fields.text("kid", max_length=_MAX_TEXT) != key.kid:
            raise _malformed("the kid of a key is its thumbprint (RFC 7638)")
        if fields.has("alg"):
            fields.constant("alg", key.algorithm)
        if fields.has("use"):
            fields.constant("use", "sig")
        if fields.has("key_ops") and fields.texts("key_ops", max_items=8) != ["verify"]:
            raise _malformed("the key_ops of a key for tokens is verify")
        fields.end()
        return key

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise unless `signature` is this key's over `message`.

        Raises:
            EvidenceError: It is not (`token.signature`).
        """
        error = EvidenceError("the token's signature does not hold", code="token.signature")
        if len(signature) != _SIGNATURE_BYTES:
            raise error
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                half = _SIGNATURE_BYTES // 2
                r, s = (
                    int.from_bytes(part, "big") for part in (signature[:half], signature[half:])
                )
                self._key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except InvalidSignature as e:
            raise error from e

    def __eq__(self, other: object) -> bool:
        """Equal when the public members are."""
        return isinstance(other, TokenVerifyingKey) and other.kid == self.kid

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash(self.kid)

    def __repr__(self) -> str:
        """Show name and algorithm."""
        return f"TokenVerifyingKey({self.algorithm}, {self.kid})"


class TokenSigningKey:
    """A private key that signs tokens and nothing else. Its `repr` shows nothing."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        """Wrap a key of the underlying library."""
        self._key = key
        self.public: Final = TokenVerifyingKey(key.public_key())

    @classmethod
    def generate(cls, algorithm: Algorithm) -> TokenSigningKey:
        """Make a fresh key for an algorithm."""
        if algorithm == "EdDSA":
            return cls(Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_seed(cls, seed: bytes) -> TokenSigningKey:
        """Make the Ed25519 key of 32 secret, uniformly random bytes, such as derived ones."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(seed))
        except ValueError as e:
            raise _malformed("an Ed25519 seed has 32 bytes") from e

    @classmethod
    def from_secret(cls, secret: bytes) -> TokenSigningKey:
        """Load from its sealed state (`to_secret`).

        Raises:
            MalformedError: Not a private key that signs tokens.
        """
        try:
            key = load_der_private_key(secret, password=None)
        except (ValueError, TypeError) as e:
            raise _malformed("not a private key") from e
        if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise _malformed("a key for tokens is Ed25519 or P-256")
        return cls(key)

    def to_secret(self) -> bytes:
        """Return the private key as PKCS#8 DER, for sealing."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over `message` in the form of RFC 7518 or RFC 8037."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        pair = decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256())))
        return b"".join(number.to_bytes(_COORDINATE_BYTES, "big") for number in pair)


class KeySet:
    """Public keys that somebody decided to trust: a JWKS, pinned, never fetched."""

    def __init__(self, keys: Iterable[TokenVerifyingKey]) -> None:
        """Take at least one key, each once."""
        listed = tuple(keys)
        self._keys: Final = {key.kid: key for key in listed}
        if not 0 < len(listed) <= MAX_JWKS_KEYS or len(self._keys) != len(listed):
            raise _malformed(f"a JWKS has 1 to {MAX_JWKS_KEYS} keys, each once")

    @classmethod
    def from_bytes(cls, data: bytes) -> KeySet:
        """Read a JWKS (RFC 7517) that holds nothing but public keys for tokens.

        Raises:
            MalformedError: It holds anything else; nothing is skipped.
        """
        value = read_json(
            data,
            what="JWKS",
            max_bytes=MAX_JWKS_BYTES,
            max_depth=_MAX_JWKS_DEPTH,
            code="token.malformed",
        )
        fields = Fields(value, what="JWKS", code="token.malformed")
        items = fields.array("keys", max_items=MAX_JWKS_KEYS)
        fields.end()
        keys = []
        for item in items:
            if not isinstance(item, Mapping):
                raise _malformed("a JWK is an object")
            keys.append(TokenVerifyingKey.from_jwk(item))
        return cls(keys)

    def find(self, kid: str) -> TokenVerifyingKey:
        """Return the key of this name.

        Raises:
            EvidenceError: None has it (`token.key-unknown`).
        """
        key = self._keys.get(kid)
        if key is None:
            raise EvidenceError(
                "the token is signed by a key that is not pinned",
                code="token.key-unknown",
                hint="get the issuer's JWKS in a way that you trust, and name that file",
            )
        return key


def jwks_document(keys: Iterable[TokenVerifyingKey]) -> bytes:
    """Return the JWKS that relying parties pin, in the order of the keys' names.

    Raises:
        MalformedError: No key, too many, or one that stands twice.
    """
    listed = sorted(keys, key=lambda key: key.kid)
    KeySet(listed)
    members = [{**key.jwk, "kid": key.kid, "alg": key.algorithm, "use": "sig"} for key in listed]
    return write_json({"keys": members})


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a pinned key has signed.

    Attributes:
        typ: `typ` of the header, one of those that were asked for.
        kid: Name of the key.
        payload: Signed bytes; their meaning is the caller's to judge.
    """

    typ: str
    kid: str
    payload: bytes


def sign_compact(payload: bytes, *, key: TokenSigningKey, typ: str) -> str:
    """Return a compact JWS over `payload` with `alg`, `kid` and `typ` in its header.

    Raises:
        MalformedError: The token would be longer than readers accept (`wire.too-large`).
    """
    header = {"alg": key.public.algorithm, "kid": key.public.kid, "typ": typ}
    signed = f"{to_base64url(write_json(header))}.{to_base64url(payload)}"
    token = f"{signed}.{to_base64url(key.sign(signed.encode('ascii')))}"
    if len(token) > MAX_TOKEN_BYTES:
        raise MalformedError(
            f"the token would be longer than {MAX_TOKEN_BYTES} bytes", code="wire.too-large"
        )
    return token


def verify_compact(token: str, *, keys: KeySet, types: Collection[str]) -> VerifiedToken:
    """Return what a pinned key has signed; nothing of the payload is looked at before that.

    The numbered procedure: (1) size and three parts; (2) the header, which has `alg`, `kid` and
    `typ` and nothing else; (3) the key of that name among the pinned ones; (4) the algorithm is the
    key's; (5) the type is one that the caller reads; (6) the signature.

    Args:
        token: Untrusted.
        keys: Pinned.
        types: The `typ` values that the caller reads; another kind of token is refused.

    Raises:
        MalformedError: `token.malformed`, `wire.too-large`.
        EvidenceError: `token.key-unknown`, `token.algorithm`, `token.signature`.

    Spec: ear-v1, clauses EAR-1 to EAR-7.
    """
    # 1  Size and form.
    if len(token) > MAX_TOKEN_BYTES:
        raise MalformedError("the token is too large", code="wire.too-large")
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise _malformed("a token has three parts")
    # 2  The header.
    fields = _header(parts[0])
    algorithm = fields.text("alg", max_length=_MAX_TEXT)
    kid = fields.text("kid", max_length=_MAX_TEXT)
    kind = fields.text("typ", max_length=_MAX_TEXT)
    fields.end()
    if not _KID.fullmatch(kid):
        raise _malformed("the kid of a token is a thumbprint (RFC 7638)")
    # 3  The key, by its name, from what is pinned.
    key = keys.find(kid)
    # 4  The key says which algorithm.
    if algorithm != key.algorithm:
        raise EvidenceError(
            f"the token names another algorithm than {key.algorithm}, which its key has",
            code="token.algorithm",
        )
    # 5  Another kind of token is no token here.
    if kind not in types:
        raise _malformed(f"the token's typ is not {' or '.join(sorted(types))}")
    # 6  The signature.
    signature = from_base64url(parts[2], what="signature")
    payload = from_base64url(parts[1], what="payload")
    key.verify(f"{parts[0]}.{parts[1]}".encode("ascii"), signature)
    return VerifiedToken(kind, kid, payload)


def _header(part: str) -> Fields:
    value = read_json(
        from_base64url(part, what="header"),
        what="token header",
        max_bytes=_MAX_HEADER_BYTES,
        max_depth=_MAX_HEADER_DEPTH,
        code="token.malformed",
    )
    if isinstance(value, dict):
        for name in _REFUSED_IN_HEADERS:
            if name in value:
                raise _malformed(f"the token's header has {name}; keys are pinned, not brought")
    return Fields(value, what="token header", code="token.malformed")


def _coordinate(fields: Fields, name: str) -> bytes:
    data = from_base64url(fields.text(name, max_length=_MAX_TEXT), what=f"JWK member {name}")
    if len(data) != _COORDINATE_BYTES:
        raise _malformed(f"JWK member {name} has {_COORDINATE_BYTES} bytes")
    return data


def _p256(x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    try:
        return numbers.public_key()
    except ValueError as e:
        raise _malformed("the point of a key is not on its curve") from e
