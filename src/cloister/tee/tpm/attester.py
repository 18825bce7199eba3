"""Have a TPM quote this machine's registers, by a key that signs nothing else.

Spec: tpm-evidence-v1, clauses TPM-10 to TPM-13.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.attestation.evidence import (
    MAX_EVIDENCE_BYTES,
    REPORT_DATA_BYTES,
    Endorsement,
    Evidence,
    ReportData,
)
from cloister.crypto.chain import Certificate, to_pem
from cloister.errors import (
    CallerError,
    CloisterError,
    ConfigError,
    UnavailableError,
    UnsupportedError,
)
from cloister.tee.kernel import KernelFiles, LinuxFiles, refused
from cloister.tee.tpm.commands import ENDORSEMENT, Tpm
from cloister.tee.tpm.endorsements import CHAIN_TYPE
from cloister.tee.tpm.layout import (
    BANKS,
    MEDIA_TYPE,
    PCRS,
    Bank,
    Quote,
    QuoteParts,
    Selection,
    Signature,
    TpmEvidence,
)
from cloister.tee.tpm.public import AkKind, PublicArea, ak_template
from cloister.tee.tpm.quote import judge_quote

__all__ = [
    "FIRMWARE_LOG",
    "PersistentAk",
    "PrimaryAk",
    "TemplateAk",
    "TpmAttester",
    "TpmCollected",
    "quote_registers",
    "read_firmware_log",
]

FIRMWARE_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
_ROOM: Final = 8192  # what is beside a log in evidence, at most
_ATTEMPTS: Final = 5
_LONG_SEQUENCE: Final = b"\x30\x82"
_PERSISTENT: Final = range(0x81000000, 0x82000000)
_NV: Final = range(0x01000000, 0x02000000)


@dataclass(frozen=True, slots=True)
class PrimaryAk:
    """The attestation key that this TPM always makes of our template: pin its public key."""

    kind: AkKind = "ecc"


@dataclass(frozen=True, slots=True)
class TemplateAk:
    """The one of a template that the maker put into an NV index, as Google Cloud does."""

    index: int

    def __post_init__(self) -> None:
        """Only NV indexes."""
        _require(self.index, _NV, "an NV index")


@dataclass(frozen=True, slots=True)
class PersistentAk:
    """The one that somebody left in the TPM under a handle, as Azure does."""

    handle: int

    def __post_init__(self) -> None:
        """Only persistent handles."""
        _require(self.handle, _PERSISTENT, "a persistent handle")


@dataclass(frozen=True, slots=True)
class TpmCollected:
    """A quote, and the key's certificate where the TPM holds one."""

    evidence: Evidence
    endorsements: tuple[Endorsement, ...] = ()


@dataclass(frozen=True, slots=True)
class TpmAttester:
    """Collects quotes of one TPM.

    Attributes:
        tpm: Open.
        key: Which key quotes.
        bank: Of the registers.
        pcrs: Their numbers.
        certificate: NV index of the key's certificate; None for none.
        log: The firmware's log; empty for none.
    """

    tpm: Tpm
    key: PrimaryAk | TemplateAk | PersistentAk = field(default_factory=PrimaryAk)
    bank: Bank = "sha256"
    pcrs: tuple[int, ...] = tuple(range(PCRS))
    certificate: int | None = None
    log: bytes = b""

    def __post_init__(self) -> None:
        """Some registers, each once and in order, as a quote has them."""
        if not self.pcrs or list(self.pcrs) != sorted({*self.pcrs} & {*range(PCRS)}):
            raise ConfigError("registers are numbers from 0 to 23, ascending", code="config.value")
        if self.bank not in BANKS:
            raise ConfigError(f"there is no bank {self.bank!r}", code="config.value")
        if self.certificate is not None:
            _require(self.certificate, _NV, "an NV index")

    def collect(self, report_data: ReportData) -> Evidence:
        """Return a quote over these 64 bytes; raises as `collect_all` does."""
        return self.collect_all(report_data.value).evidence

    def collect_all(self, data: bytes) -> TpmCollected:
        """Return a quote over 1 to 64 bytes, and what the TPM holds that vouches for its key.

        Raises:
            UnsupportedError: This TPM has no such key, register, NV index, or room for so many
                bytes (`machine.attester`).
            UnavailableError: Busy, or no quote over these bytes was made (`attester.busy`,
                `attester.failed`).
            EvidenceError: The key did not sign the quote (`evidence.signature`), or the log does
                not lead to the registers (`evidence.log`).
            MalformedError: The log or the certificate cannot be read.
        """
        endorsements: tuple[Endorsement, ...] = ()
        if not 0 < len(data) <= REPORT_DATA_BYTES:
            raise CallerError("a quote binds 1 to 64 bytes", code="caller.misuse")
        with self._key() as (handle, public):
            public.require_attestation_key()
            parts = quote_registers(
                self.tpm,
                handle,
                public.spki,
                data=data,
                selections=[Selection(self.bank, self.pcrs)],
                log=self.log,
            )
        if self.certificate is not None:
            certificate = _der(self.tpm.nv_read(self.certificate))
            endorsements = (Endorsement(CHAIN_TYPE, to_pem([certificate])),)
        body = TpmEvidence(public.spki, parts).to_bytes()
        return TpmCollected(Evidence(MEDIA_TYPE, body), endorsements)

    @contextmanager
    def _key(self) -> Iterator[tuple[int, PublicArea]]:
        """Have the key, for as long as it is used."""
        if isinstance(self.key, PersistentAk):
            yield self.key.handle, self.tpm.read_public(self.key.handle)
            return
        if isinstance(self.key, TemplateAk):
            template = self.tpm.nv_read(self.key.index)
        else:
            template = ak_template(self.key.kind)
        handle, public = self.tpm.create_primary(ENDORSEMENT, template)
        try:
            yield handle, public
        finally:
            with suppress(CloisterError):  # what was decided stands
                self.tpm.flush(handle)


def quote_registers(
    tpm: Tpm,
    key: int,
    ak: bytes,
    *,
    data: bytes,
    selections: Sequence[Selection],
    log: bytes,
) -> QuoteParts:
    """Have a key quote registers over data, with the values that were quoted.

    Args:
        tpm: Open.
        key: The key's handle.
        ak: DER SubjectPublicKeyInfo of it.
        data: What is bound, 1 to 64 bytes.
        selections: Which registers.
        log: The firmware's log; empty for none.

    Raises:
        UnsupportedError: The registers are not there, or so much data is not taken.
        UnavailableError: No quote over these bytes and values was made.
        EvidenceError: The key did not sign the quote (`evidence.signature`), or the log does not
            lead to the values (`evidence.log`).
        MalformedError: The log cannot be read.
    """
    for _ in range(_ATTEMPTS):
        try:
            values = tpm.read_pcrs(selections)
        except UnavailableError as e:
            if e.code != "attester.busy":
                raise
            continue
        message, signature = tpm.quote(key, data, selections)
        try:
            quote, digest = Quote.from_bytes(message), Signature.from_bytes(signature).digest
        except CloisterError as e:
            raise UnavailableError(
                "the TPM's quote is of a kind that is not known here",
                code="attester.failed",
                detail=e.public,
            ) from e
        if quote.extra_data != data:
            raise UnavailableError("the quote is over other bytes", code="attester.failed")
        # Registers that were extended between reading and quoting are read again.
        if quote.pcr_digest == hashlib.new(digest, b"".join(values)).digest():
            parts = QuoteParts(message, signature, values, log)
            judge_quote(parts, ak)
            return parts
    raise UnavailableError("registers are extended all the time", code="attester.busy")


def read_firmware_log(path: Path, *, files: KernelFiles | None = None) -> bytes:
    """Return the firmware's log, whole.

    Raises:
        UnsupportedError: There is none, or it is longer than evidence has room for
            (`machine.attester`).
        UnavailableError: It cannot be read, by this user at least (`attester.failed`).
    """
    kernel: KernelFiles = LinuxFiles() if files is None else files
    try:
        log = kernel.read(path, max_bytes=16 * MAX_EVIDENCE_BYTES)
    except OSError as e:
        raise refused(e, "the firmware's log cannot be read") from e
    if len(log) > MAX_EVIDENCE_BYTES - _ROOM:
        raise UnsupportedError(
            f"the firmware's log has {len(log)} bytes; evidence has room for "
            f"{MAX_EVIDENCE_BYTES - _ROOM}",
            code="machine.attester",
            hint="collect without a log, and pin the registers' values",
        )
    return log


def _der(data: bytes) -> bytes:
    """Return the certificate in an NV index, without what a maker left behind it."""
    if data[:2] == _LONG_SEQUENCE:
        data = data[: 4 + int.from_bytes(data[2:4])]
    return Certificate.from_der(data).der


def _require(number: int, among: range, what: str) -> None:
    if number not in among:
        raise ConfigError(f"{number:#x} is not {what}", code="config.value")
