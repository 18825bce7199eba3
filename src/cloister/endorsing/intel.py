"""Intel's collateral from its Provisioning Certification Service, version 4, or from a PCCS.

Four answers make one endorsement: TCB info, QE identity, the PCK authority's revocation list and
the root's. What Intel signed is taken byte for byte out of the answer, since the signature is over
those bytes; who signed stands percent-encoded in a header.

Intel, Provisioning Certification Service API, version 4; a PCCS answers the same, with revocation
lists as hexadecimal text.
Spec: endorsement-sources-v1, clauses ES-13 and ES-14.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.endorsement_bundle import Collected
from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate, RevocationList, read_pem_chain, to_pem
from cloister.endorsing.questions import Answer, Question, Window
from cloister.errors import ConfigError, EndorsementError, MalformedError
from cloister.tee.intel.endorsements import COLLATERAL_TYPE, read_collateral
from cloister.tee.intel.layout import PCK_CHAIN, TEE_SGX, Quote
from cloister.tee.intel.pck import PCK_CA_NAMES, ROOT_NAME, SIGNER_NAME, PckExtension, read_chain
from cloister.tee.intel.qe_identity import read_qe_identity
from cloister.tee.intel.spellings import signed_text
from cloister.tee.intel.tcb_info import read_tcb_info
from cloister.wire.strict_json import write_json

__all__ = ["IntelWish", "signed_text"]

_TCB_CHAIN: Final = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")
_QE_CHAIN: Final = ("sgx-enclave-identity-issuer-chain",)
_CRL_CHAIN: Final = ("sgx-pck-crl-issuer-chain",)
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2})+")
_MAX_CHAIN: Final = 3
_FMSPC_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class IntelWish:
    """Collateral for one model of platform.

    Attributes:
        tee: Whose statements.
        fmspc: The model, 6 bytes.
        ca: Who certified the platform.
    """

    tee: Literal["sgx", "tdx"]
    fmspc: bytes
    ca: Literal["platform", "processor"]

    def __post_init__(self) -> None:
        """A model has six bytes."""
        if len(self.fmspc) != _FMSPC_BYTES:
            raise ConfigError("an FMSPC has 6 bytes, 12 hex digits", code="config.value")

    @classmethod
    def of(cls, quote: Quote) -> IntelWish:
        """Read which model a quote says that it comes from; nobody has checked it.

        Raises:
            ConfigError: It does not say so (`config.missing`).
            MalformedError: Its certificates cannot be read.
        """
        if quote.signature.certification_type != PCK_CHAIN:
            raise ConfigError(
                "the quote has no certificate of its platform, which names the model",
                code="config.missing",
                hint="give --fmspc and --ca instead of the evidence",
            )
        chain = read_chain(quote.signature.certification)
        ca = PCK_CA_NAMES.get(chain[1].common_name) if len(chain) > 1 else None
        if ca not in {"platform", "processor"}:
            raise MalformedError(
                "the quote's certificates are not Intel's", code="certificate.malformed"
            )
        return cls(
            tee="sgx" if quote.header.tee_type == TEE_SGX else "tdx",
            fmspc=PckExtension.of(chain[0]).fmspc,
            ca="platform" if ca == "platform" else "processor",
        )

    @property
    def about(self) -> str:
        """What is wished for, for people."""
        return f"{self.tee.upper()} collateral of {self.fmspc.hex()}"

    def questions(self) -> tuple[Question, Question, Question, Question]:
        """Return what to ask: TCB info, QE identity, the PCK authority's list, the root's."""
        return (
            Question(
                "intel",
                f"/{self.tee}/certification/v4/tcb?fmspc={self.fmspc.hex().upper()}",
                f"TCB info of {self.fmspc.hex()} for {self.tee.upper()}",
                self._judge_tcb_info,
                headers=_TCB_CHAIN,
            ),
            Question(
                "intel",
                f"/{self.tee}/certification/v4/qe/identity",
                f"the identity of the quoting enclave for {self.tee.upper()}",
                self._judge_qe_identity,
                headers=_QE_CHAIN,
            ),
            Question(
                "intel",
                f"/sgx/certification/v4/pckcrl?ca={self.ca}&encoding=der",
                f"the revocation list of Intel's {self.ca} CA",
                self._judge_pck_list,
                headers=_CRL_CHAIN,
            ),
            Question("intel-root-crl", "", "the revocation list of Intel's root", _judge_root_list),
        )

    def collect(self, ask: Callable[[Question], Answer]) -> list[Collected]:
        """Ask, and make the one endorsement of all answers.

        Raises:
            CloisterError: As `ask` does.
        """
        return [self.collected([ask(question) for question in self.questions()])]

    def collected(self, answers: Sequence[Answer]) -> Collected:
        """Make the endorsement of the four answers, which were judged.

        Raises:
            MalformedError: Together they are no collateral.
        """
        tcb, qe, pck_list, root_list = answers
        tcb_info, tcb_signature = signed_text(tcb.body, "tcbInfo")
        qe_identity, qe_signature = signed_text(qe.body, "enclaveIdentity")
        body = write_json(
            {
                "pck_crl_issuer_chain": _chain_text(pck_list, _CRL_CHAIN),
                "root_ca_crl": _der(root_list.body).hex(),
                "pck_crl": _der(pck_list.body).hex(),
                "tcb_info_issuer_chain": _chain_text(tcb, _TCB_CHAIN),
                "tcb_info": tcb_info,
                "tcb_info_signature": tcb_signature,
                "qe_identity_issuer_chain": _chain_text(qe, _QE_CHAIN),
                "qe_identity": qe_identity,
                "qe_identity_signature": qe_signature,
            }
        )
        read_collateral(body)
        return Collected(
            Endorsement(COLLATERAL_TYPE, body),
            " ".join(answer.url for answer in answers),
            min(answer.at for answer in answers),
        )

    def _judge_tcb_info(self, answer: Answer) -> Window:
        text, _ = signed_text(answer.body, "tcbInfo")
        info = read_tcb_info(text.encode())
        if info.fmspc != self.fmspc or info.id != self.tee.upper():
            raise _other(f"{info.id} {info.fmspc.hex()}")
        issuers = _issuers(answer, _TCB_CHAIN, SIGNER_NAME)
        return Window(info.issued, info.next_update).within(issuers)

    def _judge_qe_identity(self, answer: Answer) -> Window:
        text, _ = signed_text(answer.body, "enclaveIdentity")
        identity = read_qe_identity(text.encode())
        if identity.id != ("QE" if self.tee == "sgx" else "TD_QE"):
            raise _other(identity.id)
        issuers = _issuers(answer, _QE_CHAIN, SIGNER_NAME)
        return Window(identity.issued, identity.next_update).within(issuers)

    def _judge_pck_list(self, answer: Answer) -> Window:
        found = RevocationList.from_der(_der(answer.body))
        chain = _chain(answer, _CRL_CHAIN)
        if PCK_CA_NAMES.get(chain[0].common_name) != self.ca or found.issuer != chain[0].subject:
            raise _other(found.issuer_common_name)
        return Window(found.this_update, found.next_update).within(_window(chain))


def _judge_root_list(answer: Answer) -> Window:
    found = RevocationList.from_der(_der(answer.body))
    if found.issuer_common_name != ROOT_NAME:
        raise _other(found.issuer_common_name)
    return Window(found.this_update, found.next_update)


def _der(body: bytes) -> bytes:
    """Take DER, or hexadecimal text as a PCCS gives it."""
    text = body.strip()
    return bytes.fromhex(text.decode()) if _HEX.fullmatch(text) else body


def _issuers(answer: Answer, names: Sequence[str], signer: str) -> Window:
    chain = _chain(answer, names)
    if chain[0].common_name != signer:
        raise _other(chain[0].common_name)
    return _window(chain)


def _chain(answer: Answer, names: Sequence[str]) -> list[Certificate]:
    text = urllib.parse.unquote_to_bytes(answer.header(*names))
    return read_pem_chain(text, max_certificates=_MAX_CHAIN)


def _chain_text(answer: Answer, names: Sequence[str]) -> str:
    return to_pem([each.der for each in _chain(answer, names)]).decode()


def _window(chain: Sequence[Certificate]) -> Window:
    return Window(max(each.not_before for each in chain), min(each.not_after for each in chain))


def _other(detail: str) -> EndorsementError:
    return EndorsementError(
        "an answer is about another platform or issuer", code="endorsement.mismatch", detail=detail
    )
