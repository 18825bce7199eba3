"""Judge one quote under a given attestation key: signature, PCR values, event log. Pure.

Who vouches for the key is somebody else's question: `verifier` here, Azure's firmware elsewhere.

Spec: tpm-evidence-v1, clauses TPM-23 to TPM-27.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cloister.crypto.digest import require_equal
from cloister.crypto.vendor_keys import Curve, EcdsaKey, Hash, RsaKey
from cloister.errors import EvidenceError, MalformedError
from cloister.tee.tpm.event_log import EventLog
from cloister.tee.tpm.layout import BANKS, Bank, Quote, QuoteParts, Signature
from cloister.wire import Value

__all__ = ["judge_quote"]

_HASHES: Final[dict[Bank, Hash]] = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
# PCRs 0 to 7 are the firmware's.
_FIRMWARE_PCRS: Final = 8
_CURVES: Final[dict[int, Curve]] = {32: "P-256", 48: "P-384"}


def judge_quote(parts: QuoteParts, ak: bytes) -> tuple[Quote, dict[str, Value]]:
    """Return what a key attests, and the claims about it.

    Args:
        parts: Untrusted.
        ak: DER SubjectPublicKeyInfo of a key that is trusted, or checked by the caller.

    Raises:
        MalformedError: A part cannot be read.
        EvidenceError: The signature (`evidence.signature`), the values (`evidence.parts`) or the
            log (`evidence.log`) does not hold.
    """
    # 1. Quote and signature parse.
    quote, signature = Quote.from_bytes(parts.message), Signature.from_bytes(parts.signature)
    # 2. The key signed exactly these bytes.
    _require_signed(parts.message, signature, ak)
    # 3. The values are those that were quoted, in the order of the selection.
    pcrs = _require_values(quote, signature.digest, parts.values)
    # 4. The log, where there is one, leads to these values.
    replayed, secure_boot = _require_log(parts.event_log, pcrs)
    claims = _quote_claims(quote, pcrs) | {
        "event_log": any(bank != "sha1" for bank in pcrs) and bool(parts.event_log),
        "replayed": replayed,
        "secure_boot": secure_boot,
    }
    return quote, claims


def _quote_claims(quote: Quote, pcrs: dict[Bank, dict[int, bytes]]) -> dict[str, Value]:
    """Return the claims of a quote by the TPM's names."""
    return {
        "qualified_signer": quote.qualified_signer,
        "clock": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "safe": quote.safe,
        "firmware_version": quote.firmware_version,
        "pcr_digest": quote.pcr_digest,
        "pcrs": {
            bank: {str(index): value for index, value in values.items()}
            for bank, values in pcrs.items()
        },
    }


def _require_signed(message: bytes, signature: Signature, ak: bytes) -> None:
    error = EvidenceError("the signature of a quote does not hold", code="evidence.signature")
    digest = _HASHES[signature.digest]
    if signature.scheme == "ECDSA":
        key = _ecdsa_key(ak)
        width = next(width for width, curve in _CURVES.items() if curve == key.curve)
        numbers = (signature.value, signature.second)
        joined = b"".join(number.rjust(width, b"\0") for number in numbers)
        key.verify(message, joined, digest, error=error)
    elif signature.scheme == "RSAPSS":
        RsaKey.from_spki(ak).verify_pss(message, signature.value, digest, error=error)
    else:
        RsaKey.from_spki(ak).verify_pkcs1(message, signature.value, digest, error=error)


def _ecdsa_key(ak: bytes) -> EcdsaKey:
    try:
        return EcdsaKey.from_spki(ak, "P-256")
    except MalformedError:
        return EcdsaKey.from_spki(ak, "P-384")


def _require_values(
    quote: Quote, digest: Bank, values: tuple[bytes, ...]
) -> dict[Bank, dict[int, bytes]]:
    places = quote.places()
    wrong = EvidenceError(
        "the PCR values are not those that were quoted",
        code="evidence.parts",
        detail=f"{len(values)} values for {len(places)} places",
    )
    if [len(value) for value in values] != [BANKS[bank] for bank, _ in places]:
        raise wrong
    require_equal(hashlib.new(digest, b"".join(values)).digest(), quote.pcr_digest, error=wrong)
    pcrs: dict[Bank, dict[int, bytes]] = {}
    for (bank, index), value in zip(places, values, strict=True):
        pcrs.setdefault(bank, {})[index] = value
    return pcrs


def _require_log(data: bytes, pcrs: dict[Bank, dict[int, bytes]]) -> tuple[list[Value], str]:
    """Return which quoted PCRs the log explains, and what it says of Secure Boot."""
    if not data:
        return [], "unknown"
    log = EventLog.from_bytes(data)
    replayed: list[Value] = []
    for bank, quoted in pcrs.items():
        if bank not in log.banks:
            raise _unlike(bank)
        found = log.replay(bank)
        for index, value in quoted.items():
            # What firmware extended has a log; systems extend later ones without.
            silent = index not in found and index < _FIRMWARE_PCRS and any(value)
            if silent or found.get(index, value) != value:
                raise _unlike(f"{bank}:{index}")
        replayed += [f"{bank}:{index}" for index in sorted(found) if index in quoted]
    if not replayed:
        raise _unlike("nothing")
    return replayed, _secure_boot(log, replayed)


def _unlike(what: str) -> EvidenceError:
    return EvidenceError(
        "the event log does not lead to the quoted values", code="evidence.log", detail=what
    )


def _secure_boot(log: EventLog, replayed: list[Value]) -> str:
    strong = (bank for bank in log.banks if bank != "sha1" and f"{bank}:7" in replayed)
    found = {log.secure_boot(bank) for bank in strong}
    known: dict[bool | None, str] = {True: "on", False: "off"}
    return known.get(found.pop(), "unknown") if len(found) == 1 else "unknown"
