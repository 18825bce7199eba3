"""AMD's certificates and revocation list from its Key Distribution Service (KDS).

A VCEK's certificate is named by chip and versions and never changes. A VLEK's is given to its
provider only, and by the host to the guest: KDS has its chain and the list.

AMD, Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (57230),
revision 1.00; for VLEK (58369) likewise.
Spec: endorsement-sources-v1, clauses ES-15 and ES-16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.endorsement_bundle import Collected
from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import RevocationList, read_pem_chain
from cloister.endorsing.questions import Answer, Question, Window
from cloister.errors import ConfigError, EndorsementError
from cloister.tee.snp.certificate import HARDWARE_ID, PRODUCT_NAME, SPL, ChipCertificate
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import PRODUCTS, TCB_PARTS, Product, Report, product_of

__all__ = ["ID_BYTES", "INTERMEDIATES", "AmdWish"]

# How KDS calls the parts of a TCB, in the order in which it is asked.
_PARAMETERS: Final = {
    "fmc": "fmcSPL",
    "bootloader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}
ID_BYTES: Final[dict[Product, int]] = {"Milan": 64, "Genoa": 64, "Turin": 8}
INTERMEDIATES: Final = {"VCEK": "SEV-", "VLEK": "SEV-VLEK-"}


@dataclass(frozen=True, slots=True)
class AmdWish:
    """What AMD says about reports of one chip, or of one product.

    Attributes:
        product: Which.
        key: Whose key signs.
        chip_id: The chip, 64 bytes; empty where no certificate is wished for.
        tcb: The raw TCB_VERSION that its key is bound to; empty likewise.
    """

    product: Product
    key: Literal["VCEK", "VLEK"] = "VCEK"
    chip_id: bytes = b""
    tcb: bytes = b""

    @classmethod
    def of(cls, report: Report, *, product: str) -> AmdWish:
        """Read what a report says of its key; nobody has checked it.

        Args:
            report: Untrusted.
            product: What the user says; empty where he does not.

        Raises:
            ConfigError: The report does not name what AMD has to be asked for, or another product
                than the user.
        """
        named = _product(report, product)
        if report.signing_key == "VLEK":
            return cls(named, "VLEK")
        if report.signing_key != "VCEK":
            raise ConfigError("no key of AMD's signed the report", code="config.value")
        if not any(report.chip_id):
            raise ConfigError(
                "the report does not name its chip, so that AMD cannot be asked about it",
                code="config.missing",
                hint="the host has the certificate: give its file with --endorsements, and "
                "--product instead of the evidence",
            )
        return cls(named, "VCEK", report.chip_id, report.reported_tcb)

    @classmethod
    def of_product(cls, name: str) -> AmdWish:
        """Wish for a product's chain and list only.

        Raises:
            ConfigError: It is not known.
        """
        return cls(_known(name))

    @property
    def about(self) -> str:
        """What is wished for, for people."""
        chip = f" {self.chip_id[:8].hex()}" if self.chip_id else ""
        return f"{self.key} certificates of {self.product}{chip}"

    def questions(self) -> tuple[Question, ...]:
        """Return what to ask: chain, list, and the key's certificate where the chip is known."""
        path = f"/{self.key.lower()}/v1/{self.product}"
        found = (
            Question(
                "amd",
                f"{path}/cert_chain",
                f"the chain of {self.key} of {self.product}",
                self._judge_chain,
            ),
            Question(
                "amd", f"{path}/crl", f"the revocation list of {self.product}", self._judge_list
            ),
        )
        if not self.chip_id:
            return found
        parts = dict(zip(TCB_PARTS[self.product], self.tcb, strict=True))
        query = "&".join(
            f"{parameter}={parts[part]:02}"
            for part, parameter in _PARAMETERS.items()
            if part in parts
        )
        chip = self.chip_id[: ID_BYTES[self.product]].hex()
        question = Question(
            "amd", f"{path}/{chip}?{query}", f"the VCEK of {chip[:16]}…", self._judge_certificate
        )
        return (*found, question)

    def collect(self, ask: Callable[[Question], Answer]) -> list[Collected]:
        """Ask; each answer is one endorsement.

        Raises:
            CloisterError: As `ask` does.
        """
        types = (CHAIN_TYPE, LIST_TYPE, CERTIFICATE_TYPE)
        answers = [ask(question) for question in self.questions()]
        return [
            Collected(Endorsement(media_type, answer.body), answer.url, answer.at)
            for media_type, answer in zip(types, answers, strict=False)
        ]

    def _judge_chain(self, answer: Answer) -> Window:
        chain = read_pem_chain(answer.body, max_certificates=2)
        names = [each.common_name for each in chain]
        if names != [f"{INTERMEDIATES[self.key]}{self.product}", f"ARK-{self.product}"]:
            raise _other(", ".join(names))
        return Window(max(each.not_before for each in chain), min(each.not_after for each in chain))

    def _judge_list(self, answer: Answer) -> Window:
        found = RevocationList.from_der(answer.body)
        if found.issuer_common_name != f"ARK-{self.product}":
            raise _other(found.issuer_common_name)
        return Window(found.this_update, found.next_update)

    def _judge_certificate(self, answer: Answer) -> Window:
        found = ChipCertificate.from_der(answer.body)
        size = ID_BYTES[self.product]
        versions = [found.number(SPL[part]) for part in TCB_PARTS[self.product]]
        if (
            found.common_name != "SEV-VCEK"
            or found.text(PRODUCT_NAME).partition("-")[0] != self.product
            or found.octets(HARDWARE_ID, size) != self.chip_id[:size]
            or versions != list(self.tcb)
        ):
            raise _other(f"{found.common_name} of {found.text(PRODUCT_NAME)}")
        return Window(found.not_before, found.not_after)


def _product(report: Report, product: str) -> Product:
    """Return the product by the processor's name in the report, else by the user's word."""
    if not report.has_cpuid:
        if product:
            return _known(product)
        raise ConfigError(
            f"a report of version {report.version} does not name its processor",
            code="config.missing",
            hint="say which: --product " + " or ".join(PRODUCTS),
        )
    named = product_of(report.cpuid)
    if named is None:
        raise ConfigError(
            "the report is of a processor that is not known",
            code="config.value",
            hint="no endorsements are asked for by guessing",
        )
    if product and _known(product) != named:
        raise ConfigError(f"the report names {named}, not {product}", code="config.value")
    return named


def _known(name: str) -> Product:
    found = next((each for each in PRODUCTS if each.lower() == name.lower()), None)
    if found is None:
        raise ConfigError(
            f"{name!r} is no product of AMD's", code="config.value", hint=", ".join(PRODUCTS)
        )
    return found


def _other(detail: str) -> EndorsementError:
    return EndorsementError(
        "an answer is about another chip, version or product",
        code="endorsement.mismatch",
        detail=detail,
    )
