"""Endorsements of any manufacturer in one file, signed by whoever collected them.

What endorsers say is judged where evidence is verified, by the endorsers' own signatures. The
collector's signature adds what they do not say: that these belong together, whence and when they
came. Nothing here fetches.

Spec: endorsement-bundle-v1.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.digest import sha256
from cloister.crypto.signature import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import EndorsementError, MalformedError
from cloister.wire import Fields, Value, encode

__all__ = ["MAX_BUNDLE_BYTES", "Collected", "EndorsementBundle"]

MAX_BUNDLE_BYTES: Final = 32 << 20
_LABEL: Final = b"cloister/endorsement-bundle/v1"
_VERSION: Final = 1
_MAX_ITEMS: Final = 1024
_MAX_BODY: Final = 4 << 20
_MAX_SOURCE: Final = 2048
_CODE: Final = "endorsement.malformed"


@dataclass(frozen=True, slots=True)
class Collected:
    """One endorsement as it was collected.

    Attributes:
        endorsement: Exactly what the endorser gave.
        source: Where it came from: a URL, or a file's name.
        at: When, in seconds since the epoch.
    """

    endorsement: Endorsement
    source: str
    at: int


@dataclass(frozen=True, slots=True)
class EndorsementBundle:
    """Endorsements that belong together; each (media type, body) once, in canonical order.

    Attributes:
        items: What was collected.
        collector: Who signed.
    """

    items: tuple[Collected, ...]
    collector: VerifyingKey

    @property
    def endorsements(self) -> tuple[Endorsement, ...]:
        """What a verifier takes."""
        return tuple(item.endorsement for item in self.items)

    @classmethod
    def make(cls, items: Collection[Collected], key: SigningKey) -> tuple[EndorsementBundle, bytes]:
        """Sign what was collected; of the same endorsement twice, the newest stays.

        Raises:
            MalformedError: Nothing was collected, or more than a bundle holds.
        """
        newest: dict[tuple[str, bytes], Collected] = {}
        for item in sorted(items, key=lambda each: each.at):
            newest[_order(item)] = item
        ordered = tuple(newest[name] for name in sorted(newest))
        body = encode({"version": _VERSION, "items": [_item_value(item) for item in ordered]})
        data = encode(
            {
                "body": body,
                "collector": key.public.raw,
                "signature": key.sign(_LABEL, body),
            }
        )
        return cls.open(data, collectors=[key.public]), data

    @classmethod
    def open(cls, data: bytes, *, collectors: Collection[VerifyingKey]) -> EndorsementBundle:
        """Read a bundle from untrusted bytes.

        Args:
            data: Untrusted.
            collectors: Those whose bundles the caller takes; none of them takes none.

        Raises:
            MalformedError: These bytes are no bundle.
            EndorsementError: Somebody else signed it, or it was changed (`endorsement.signature`).
        """
        body, collector, signature = _outer(data)
        wrong = EndorsementError(
            "the bundle was not signed by a collector that is accepted",
            code="endorsement.signature",
        )
        if collector not in collectors:
            raise wrong
        collector.verify(_LABEL, body, signature, error=wrong)
        inner = Fields.decode(
            body, what="endorsement bundle", max_bytes=MAX_BUNDLE_BYTES, code=_CODE
        )
        inner.constant("version", _VERSION)
        items = tuple(_item(value) for value in inner.array("items", max_items=_MAX_ITEMS))
        inner.end()
        names = [_order(item) for item in items]
        if not names or any(a >= b for a, b in itertools.pairwise(names)):
            raise MalformedError(
                "a bundle has endorsements, in order and each once", code="endorsement.malformed"
            )
        return cls(items, collector)

    @staticmethod
    def claimed_collector(data: bytes) -> VerifyingKey:
        """Return who is said to have signed, so that a reader can say whom he does not know.

        Nothing was checked: anybody can write any key there.

        Raises:
            MalformedError: These bytes are no bundle.
        """
        return _outer(data)[1]


def _outer(data: bytes) -> tuple[bytes, VerifyingKey, bytes]:
    fields = Fields.decode(data, what="endorsement bundle", max_bytes=MAX_BUNDLE_BYTES, code=_CODE)
    body = fields.octets("body", max_length=MAX_BUNDLE_BYTES)
    collector = VerifyingKey(fields.octets("collector", length=PUBLIC_BYTES))
    signature = fields.octets("signature", length=SIGNATURE_BYTES)
    fields.end()
    return body, collector, signature


def _order(item: Collected) -> tuple[str, bytes]:
    return item.endorsement.media_type, sha256(item.endorsement.body)


def _item_value(item: Collected) -> Value:
    return {
        "media_type": item.endorsement.media_type,
        "body": item.endorsement.body,
        "source": item.source,
        "at": item.at,
    }


def _item(value: Value) -> Collected:
    fields = Fields(value, what="endorsement", code=_CODE)
    item = Collected(
        Endorsement(
            fields.text("media_type", max_length=127),
            fields.octets("body", max_length=_MAX_BODY),
        ),
        fields.text("source", max_length=_MAX_SOURCE),
        fields.integer("at"),
    )
    fields.end()
    return item
