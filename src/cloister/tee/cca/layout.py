"""The bytes of Arm CCA attestation tokens as frozen dataclasses; no trust, no I/O.

CBOR tag 399 of a map of two tokens, each a tagged COSE_Sign1 in a byte string (Arm DEN0137, Realm
Management Monitor specification 1.0, sections A7.2.3 and following):

===== ==================== ====== ====== ============================================
key   platform (44234)     key    realm (44241)
===== ==================== ====== ====== ============================================
265   profile              265    profile
10    challenge            10     challenge, 64 bytes
2396  implementation id    44235  personalization value, 64 bytes
256   instance id          44236  name of the hash of measurements
2401  configuration        44237  public key, a COSE_Key on P-384 in a byte string
2395  lifecycle            44238  initial measurement
2399  software components  44239  four extensible measurements
2402  name of the hash     44240  name of the hash that binds the key
2400  verification service
===== ==================== ====== ====== ============================================

Spec: cca-evidence-v1, clauses CCA-2 to CCA-6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import MalformedError
from cloister.tee.cose import CoseSign1
from cloister.wire.foreign_cbor import ForeignValue, Tagged, read_foreign, write_foreign

__all__ = [
    "MAX_TOKEN_BYTES",
    "MEDIA_TYPE",
    "PLATFORM_PROFILES",
    "REALM_PROFILE",
    "CcaToken",
    "PlatformToken",
    "RealmToken",
    "SoftwareComponent",
]

MEDIA_TYPE: Final = "application/vnd.cloister.cca"
MAX_TOKEN_BYTES: Final = 16384
PLATFORM_PROFILES: Final = (
    "http://arm.com/CCA-SSD/1.0.0",
    "tag:arm.com,2023:cca_platform#1.0.0",
)
REALM_PROFILE: Final = "tag:arm.com,2023:realm#1.0.0"

_UNCOMPRESSED: Final = b"\x04"
_POINT_BYTES: Final = 97
_TAG: Final = 399
_PLATFORM, _REALM = 44234, 44241
_PROFILE, _CHALLENGE = 265, 10
_IMPLEMENTATION, _INSTANCE, _CONFIG = 2396, 256, 2401
_LIFECYCLE, _COMPONENTS, _SERVICE, _PLATFORM_HASH = 2395, 2399, 2400, 2402
_PERSONALIZATION, _REALM_HASH, _PUBLIC_KEY = 44235, 44236, 44237
_INITIAL, _EXTENSIBLE, _KEY_HASH = 44238, 44239, 44240

_HASHES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "sha-256": lambda data: hashlib.sha256(data).digest(),
    "sha-384": lambda data: hashlib.sha384(data).digest(),
    "sha-512": lambda data: hashlib.sha512(data).digest(),
}
_DIGEST_LENGTHS: Final = (32, 48, 64)
_EXTENSIBLE_MEASUREMENTS: Final = 4
_INSTANCE_BYTES: Final = 33
_IMPLEMENTATION_BYTES: Final = 32
_WIDE: Final = 64
_MAX_CONFIG: Final = 512
_MAX_COMPONENTS: Final = 32
_MAX_TEXT: Final = 128
_MAX_LIFECYCLE: Final = 0xFFFF
_MAX_KEY: Final = 256
_COORDINATE: Final = 48
_COSE_EC2, _COSE_P384 = 2, 2


@dataclass(frozen=True, slots=True)
class SoftwareComponent:
    """One component of the platform's software.

    Attributes:
        measurement: Its digest.
        signer_id: Digest of the key that signed it.
        measurement_type: What it is; empty where it is not said.
        version: Its version; empty where it is not said.
        hash_algorithm: The digest's name; empty for the platform's own.
    """

    measurement: bytes
    signer_id: bytes
    measurement_type: str
    version: str
    hash_algorithm: str


_COMPONENT_TEXTS: Final = {1: "measurement_type", 4: "version", 6: "hash_algorithm"}


@dataclass(frozen=True, slots=True)
class PlatformToken:
    """What the platform states.

    Attributes:
        profile: Which version of the format.
        challenge: Digest of the realm's public key.
        implementation_id: Which kind of platform.
        instance_id: Which platform.
        config: Its configuration.
        lifecycle: Its state.
        components: Its software.
        hash_algorithm: The name of the hash of measurements.
        verification_service: Where it may be verified; empty where it is not said.
    """

    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    components: tuple[SoftwareComponent, ...]
    hash_algorithm: str
    verification_service: str

    def to_bytes(self) -> bytes:
        """Return the payload."""
        fields: dict[int | str, ForeignValue] = {
            _PROFILE: self.profile,
            _CHALLENGE: self.challenge,
            _IMPLEMENTATION: self.implementation_id,
            _INSTANCE: self.instance_id,
            _CONFIG: self.config,
            _LIFECYCLE: self.lifecycle,
            _COMPONENTS: [_component_map(each) for each in self.components],
            _PLATFORM_HASH: self.hash_algorithm,
        }
        if self.verification_service:
            fields[_SERVICE] = self.verification_service
        return write_foreign(fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> PlatformToken:
        """Read an untrusted payload.

        Raises:
            MalformedError: It has another form.
        """
        fields = _Map(data)
        token = cls(
            profile=fields.text(_PROFILE),
            challenge=fields.octets(_CHALLENGE, *_DIGEST_LENGTHS),
            implementation_id=fields.octets(_IMPLEMENTATION, _IMPLEMENTATION_BYTES),
            instance_id=fields.octets(_INSTANCE, _INSTANCE_BYTES),
            config=fields.octets(_CONFIG, *range(1, _MAX_CONFIG + 1)),
            lifecycle=fields.number(_LIFECYCLE, _MAX_LIFECYCLE),
            components=tuple(_component(each) for each in fields.array(_COMPONENTS)),
            hash_algorithm=fields.text(_PLATFORM_HASH),
            verification_service=fields.text(_SERVICE) if fields.has(_SERVICE) else "",
        )
        fields.end()
        if token.profile not in PLATFORM_PROFILES:
            raise _malformed("is of another profile")
        if token.instance_id[0] != 1 or not 0 < len(token.components) <= _MAX_COMPONENTS:
            raise _malformed("names no instance or no software")
        return token


@dataclass(frozen=True, slots=True)
class RealmToken:
    """What the realm manager states about a realm.

    Attributes:
        profile: Which version of the format; empty in tokens from before there were profiles.
        challenge: What the realm gave to be bound.
        personalization_value: What the host gave when the realm was made.
        initial_measurement: The realm's image.
        extensible_measurements: Four registers.
        hash_algorithm: The name of the hash of measurements.
        public_key: The realm's attestation key, as it stands in the token: a COSE_Key, or an
            uncompressed point where there is no profile.
        key_hash_algorithm: The name of the hash that binds the key to the platform token.
    """

    profile: str
    challenge: bytes
    personalization_value: bytes
    initial_measurement: bytes
    extensible_measurements: tuple[bytes, ...]
    hash_algorithm: str
    public_key: bytes
    key_hash_algorithm: str

    def to_bytes(self) -> bytes:
        """Return the payload."""
        return write_foreign(
            {
                **({_PROFILE: self.profile} if self.profile else {}),
                _CHALLENGE: self.challenge,
                _PERSONALIZATION: self.personalization_value,
                _INITIAL: self.initial_measurement,
                _EXTENSIBLE: list(self.extensible_measurements),
                _REALM_HASH: self.hash_algorithm,
                _PUBLIC_KEY: self.public_key,
                _KEY_HASH: self.key_hash_algorithm,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> RealmToken:
        """Read an untrusted payload.

        Raises:
            MalformedError: It has another form.
        """
        fields = _Map(data)
        token = cls(
            profile=fields.text(_PROFILE) if fields.has(_PROFILE) else "",
            challenge=fields.octets(_CHALLENGE, _WIDE),
            personalization_value=fields.octets(_PERSONALIZATION, _WIDE),
            initial_measurement=fields.octets(_INITIAL, *_DIGEST_LENGTHS),
            extensible_measurements=tuple(
                _octets(each, *_DIGEST_LENGTHS) for each in fields.array(_EXTENSIBLE)
            ),
            hash_algorithm=fields.text(_REALM_HASH),
            public_key=fields.octets(_PUBLIC_KEY, *range(1, _MAX_KEY + 1)),
            key_hash_algorithm=fields.text(_KEY_HASH),
        )
        fields.end()
        if token.profile not in ("", REALM_PROFILE):
            raise _malformed("is of another profile")
        point = (token.public_key[:1], len(token.public_key)) == (
            _UNCOMPRESSED,
            1 + 2 * _COORDINATE,
        )
        if not token.profile and not point:
            raise _malformed("has neither a profile nor a key from before there were any")
        if len(token.extensible_measurements) != _EXTENSIBLE_MEASUREMENTS:
            raise _malformed("does not have four extensible measurements")
        if token.key_hash_algorithm not in _HASHES:
            raise _malformed("binds its key with an unknown hash")
        return token

    @property
    def key_digest(self) -> bytes:
        """The digest of the public key that a platform token of the same realm manager holds."""
        return _HASHES[self.key_hash_algorithm](self.public_key)

    @property
    def key(self) -> EcdsaKey:
        """The realm's attestation key.

        Raises:
            MalformedError: It is no key on P-384 (`evidence.malformed`, `certificate.malformed`).
        """
        if not self.profile:
            return EcdsaKey.from_point(self.public_key[1:], "P-384")
        fields = _Map(self.public_key)
        if (fields.number(1, _COSE_EC2), fields.number(-1, _COSE_P384)) != (_COSE_EC2, _COSE_P384):
            raise _malformed("has a key of another kind")
        point = fields.octets(-2, _COORDINATE) + fields.octets(-3, _COORDINATE)
        fields.end()
        return EcdsaKey.from_point(point, "P-384")

    @staticmethod
    def encode_key(key: EcdsaKey) -> bytes:
        """Return a key as a COSE_Key."""
        point = key.point
        x, y = point[:_COORDINATE], point[_COORDINATE:]
        return write_foreign({1: _COSE_EC2, -1: _COSE_P384, -2: x, -3: y})


@dataclass(frozen=True, slots=True)
class CcaToken:
    """Both tokens, signed; nobody has checked a signature yet."""

    platform: CoseSign1
    realm: CoseSign1

    def to_bytes(self) -> bytes:
        """Return the collection's bytes."""
        parts: dict[int | str, ForeignValue] = {
            _PLATFORM: self.platform.to_bytes(tagged=True),
            _REALM: self.realm.to_bytes(tagged=True),
        }
        return write_foreign(Tagged(_TAG, parts))

    @classmethod
    def from_bytes(cls, data: bytes) -> CcaToken:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no such collection (`evidence.malformed`).
        """
        value = read_foreign(
            data, what="a token", max_bytes=MAX_TOKEN_BYTES, code="evidence.malformed"
        )
        if not isinstance(value, Tagged) or value.tag != _TAG:
            raise _malformed("has no tag 399")
        parts = value.value
        if not isinstance(parts, dict) or set(parts) != {_PLATFORM, _REALM}:
            raise _malformed("does not have exactly a platform's and a realm's token")
        platform, realm = (
            CoseSign1.from_bytes(
                _octets(parts[name], *range(MAX_TOKEN_BYTES)),
                tagged=True,
                max_bytes=MAX_TOKEN_BYTES,
            )
            for name in (_PLATFORM, _REALM)
        )
        return cls(platform, realm)


def _component(value: ForeignValue) -> SoftwareComponent:
    fields = _Map(value)
    component = SoftwareComponent(
        measurement=fields.octets(2, *_DIGEST_LENGTHS),
        signer_id=fields.octets(5, *_DIGEST_LENGTHS),
        **{
            name: fields.text(key) if fields.has(key) else ""
            for key, name in _COMPONENT_TEXTS.items()
        },
    )
    fields.end()
    return component


def _component_map(component: SoftwareComponent) -> Mapping[int | str, ForeignValue]:
    texts = {key: getattr(component, name) for key, name in _COMPONENT_TEXTS.items()}
    return {
        **{key: text for key, text in texts.items() if text},
        2: component.measurement,
        5: component.signer_id,
    }


class _Map:
    """A map with integer keys, all of which must be asked for."""

    def __init__(self, value: ForeignValue) -> None:
        """Take a map, or the bytes of one."""
        if isinstance(value, bytes):
            value = read_foreign(
                value, what="a token", max_bytes=MAX_TOKEN_BYTES, code="evidence.malformed"
            )
        if not isinstance(value, dict):
            raise _malformed("has something else in the place of a map")
        self._left: dict[int | str, ForeignValue] = dict(value)

    def has(self, key: int) -> bool:
        return key in self._left

    def octets(self, key: int, *lengths: int) -> bytes:
        return _octets(self._take(key), *lengths)

    def text(self, key: int) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
            raise _malformed(f"has no text as {key}")
        if not (value.isascii() and value.isprintable()):
            raise _malformed(f"has a text with strange characters as {key}")
        return value

    def number(self, key: int, maximum: int) -> int:
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
            raise _malformed(f"has no number as {key}")
        return value

    def array(self, key: int) -> list[ForeignValue]:
        value = self._take(key)
        if not isinstance(value, list):
            raise _malformed(f"has no array as {key}")
        return value

    def end(self) -> None:
        if self._left:
            raise _malformed("has claims that nobody knows")

    def _take(self, key: int) -> ForeignValue:
        if key not in self._left:
            raise _malformed(f"lacks {key}")
        return self._left.pop(key)


def _octets(value: ForeignValue, *lengths: int) -> bytes:
    if not isinstance(value, bytes) or len(value) not in lengths:
        raise _malformed("has a field of another type or length")
    return value


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"a CCA token {problem}", code="evidence.malformed")
