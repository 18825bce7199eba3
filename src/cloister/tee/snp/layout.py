"""AMD's attestation report as a frozen dataclass, and the bits in it; no trust, no I/O.

AMD, SEV Secure Nested Paging Firmware ABI Specification (56860), revision 1.58: ATTESTATION_REPORT
(table 23), TCB_VERSION (tables 3 and 4), GUEST_POLICY (table 9), PLATFORM_INFO (table 24).

    offset  bytes  field                     offset  bytes  field
    0x000   4      version, 2 to 5           0x140   32     report_id
    0x004   4      guest_svn                 0x160   32     report_id_ma
    0x008   8      policy                    0x180   8      reported_tcb
    0x010   16     family_id                 0x188   3      cpuid family, model, stepping (3+)
    0x020   16     image_id                  0x1a0   64     chip_id
    0x030   4      vmpl                      0x1e0   8      committed_tcb
    0x034   4      signature_algo, 1         0x1e8   3      current build, minor, major
    0x038   8      current_tcb               0x1ec   3      committed build, minor, major
    0x040   8      platform_info             0x1f0   8      launch_tcb
    0x048   4      key_info                  0x1f8   8      launch_mit_vector (5)
    0x050   64     report_data               0x200   8      current_mit_vector (5)
    0x090   48     measurement               0x2a0   72     signature: r, little-endian
    0x0c0   32     host_data                 0x2e8   72     signature: s, little-endian
    0x0e0   48     id_key_digest             0x330   368    reserved
    0x110   48     author_key_digest         0x4a0          end

Numbers are little-endian; what is not in the table is zero.
Spec: snp-evidence-v1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from cloister.errors import MalformedError

__all__ = [
    "MEDIA_TYPE",
    "POLICY_BITS",
    "PRODUCTS",
    "REPORT_BYTES",
    "SIGNED_BYTES",
    "TCB_PARTS",
    "Product",
    "Report",
    "product_of",
    "tcb_parts",
]

Product = Literal["Milan", "Genoa", "Turin"]

MEDIA_TYPE: Final = "application/vnd.cloister.snp"
REPORT_BYTES: Final = 0x4A0
SIGNED_BYTES: Final = 0x2A0
PRODUCTS: Final[tuple[Product, ...]] = ("Milan", "Genoa", "Turin")

# What each byte of a TCB_VERSION is; `spl4` to `spl7` are reserved.
_ZEN3: Final = ("bootloader", "tee", "spl4", "spl5", "spl6", "spl7", "snp", "microcode")
_ZEN5: Final = ("fmc", "bootloader", "tee", "snp", "spl5", "spl6", "spl7", "microcode")
TCB_PARTS: Final[dict[Product, tuple[str, ...]]] = {"Milan": _ZEN3, "Genoa": _ZEN3, "Turin": _ZEN5}

POLICY_BITS: Final = {
    "smt": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl_allow": 21,
    "mem_aes_256_xts": 22,
    "rapl_dis": 23,
    "ciphertext_hiding_dram": 24,
    "page_swap_disable": 25,
}
_PLATFORM_BITS: Final = {
    "smt_en": 0,
    "tsme_en": 1,
    "ecc_en": 2,
    "rapl_dis": 3,
    "ciphertext_hiding_dram_en": 4,
    "alias_check_complete": 5,
    "tio_en": 7,
}
_POLICY_ONE: Final = 17
_POLICY_KNOWN: Final = 0xFFFF | 1 << _POLICY_ONE | sum(1 << bit for bit in POLICY_BITS.values())
_PLATFORM_KNOWN: Final = sum(1 << bit for bit in _PLATFORM_BITS.values())
_KEY_INFO_KNOWN: Final = 0x1F
_SIGNING_KEYS: Final = {0: "VCEK", 1: "VLEK", 7: "none"}
_ECDSA_P384_SHA384: Final = 1
_VERSIONS: Final = range(2, 6)
_WITH_CPUID: Final = 3
_WITH_VECTORS: Final = 5
_MAX_VMPL: Final = 3
_NUMBER_BYTES: Final = 72
_P384_BYTES: Final = 48

_SIGNED: Final = struct.Struct(
    "<I I Q 16s 16s I I 8s Q I 4x 64s 48s 32s 48s 48s 32s 32s 8s 3s 21x 64s 8s 3s x 3s x 8s Q Q"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What AMD's firmware states and signs; nobody has checked the signature yet.

    Attributes are AMD's fields. TCB versions stay raw: what their bytes are depends on the
    product. `cpuid` is zero before version 3, the mitigation vectors are before version 5.
    `signature` is r and s, 48 bytes each, big-endian.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: bytes
    chip_id: bytes
    committed_tcb: bytes
    current_version: bytes
    committed_version: bytes
    launch_tcb: bytes
    launch_mit_vector: int
    current_mit_vector: int
    signature: bytes = field(default=bytes(2 * _P384_BYTES), repr=False)

    def __post_init__(self) -> None:
        """Values that the specification has."""
        wrong = ""
        if self.version not in _VERSIONS:
            wrong = f"version {self.version}"
        elif self.signature_algo != _ECDSA_P384_SHA384:
            wrong = f"signature algorithm {self.signature_algo}"
        elif self.vmpl > _MAX_VMPL:
            wrong = f"vmpl {self.vmpl}"
        elif self.key_info & ~_KEY_INFO_KNOWN or self.key_info >> 2 not in _SIGNING_KEYS:
            wrong = f"key info {self.key_info:#x}"
        elif not self.policy >> _POLICY_ONE & 1:
            wrong = "a guest policy without its constant bit"
        elif self.version < _WITH_CPUID and any(self.cpuid):
            wrong = "a processor's name before version 3"
        elif self.version < _WITH_VECTORS and (self.launch_mit_vector or self.current_mit_vector):
            wrong = "mitigation vectors before version 5"
        if wrong:
            raise MalformedError(f"an SNP report has {wrong}", code="evidence.malformed")

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """Read untrusted bytes, exactly one report.

        Raises:
            MalformedError: Wrong length, a value outside the specification, or a reserved byte.
        """
        if len(data) != REPORT_BYTES:
            raise MalformedError(
                f"an SNP report has {REPORT_BYTES} bytes, not {len(data)}",
                code="evidence.malformed",
            )
        report = replace(cls(*_SIGNED.unpack_from(data)), signature=_numbers(data))
        if report.to_bytes() != data:
            raise MalformedError("a reserved byte of an SNP report", code="evidence.malformed")
        return report

    def signed_bytes(self) -> bytes:
        """Return the bytes that the firmware signs."""
        return _SIGNED.pack(
            self.version,
            self.guest_svn,
            self.policy,
            self.family_id,
            self.image_id,
            self.vmpl,
            self.signature_algo,
            self.current_tcb,
            self.platform_info,
            self.key_info,
            self.report_data,
            self.measurement,
            self.host_data,
            self.id_key_digest,
            self.author_key_digest,
            self.report_id,
            self.report_id_ma,
            self.reported_tcb,
            self.cpuid,
            self.chip_id,
            self.committed_tcb,
            self.current_version,
            self.committed_version,
            self.launch_tcb,
            self.launch_mit_vector,
            self.current_mit_vector,
        ).ljust(SIGNED_BYTES, b"\0")

    def to_bytes(self) -> bytes:
        """Return the report with its signature."""
        r, s = self.signature[:_P384_BYTES], self.signature[_P384_BYTES:]
        numbers = b"".join(each[::-1].ljust(_NUMBER_BYTES, b"\0") for each in (r, s))
        return (self.signed_bytes() + numbers).ljust(REPORT_BYTES, b"\0")

    @property
    def signing_key(self) -> str:
        """`VCEK` (a chip's), `VLEK` (a provider's), or `none`."""
        return _SIGNING_KEYS[self.key_info >> 2]

    @property
    def author_key_en(self) -> bool:
        """Whether `author_key_digest` means something."""
        return bool(self.key_info & 1)

    @property
    def mask_chip_key(self) -> bool:
        """Whether the platform was told not to sign with the chip's key."""
        return bool(self.key_info & 2)

    @property
    def has_cpuid(self) -> bool:
        """Whether the report names the processor."""
        return self.version >= _WITH_CPUID

    @property
    def has_vectors(self) -> bool:
        """Whether the report has mitigation vectors."""
        return self.version >= _WITH_VECTORS

    def policy_bits(self) -> dict[str, bool]:
        """Return the guest policy's bits by AMD's names."""
        return {name: bool(self.policy >> bit & 1) for name, bit in POLICY_BITS.items()}

    def platform_bits(self) -> dict[str, bool]:
        """Return the platform's bits by AMD's names."""
        return {name: bool(self.platform_info >> bit & 1) for name, bit in _PLATFORM_BITS.items()}

    @property
    def unknown_policy_bits(self) -> int:
        """Bits of the guest policy that the specification does not name."""
        return self.policy & ~_POLICY_KNOWN

    @property
    def unknown_platform_bits(self) -> int:
        """Bits of the platform that the specification does not name."""
        return self.platform_info & ~_PLATFORM_KNOWN


def product_of(cpuid: bytes) -> Product | None:
    """Return the product that AMD certifies a processor as, None where it is no known one.

    Bergamo and Siena (models 0xa0 to 0xaf) are certified as Genoa.
    """
    family, group = cpuid[0], cpuid[1] >> 4
    products: dict[tuple[int, int], Product] = {
        (0x19, 0x0): "Milan",
        (0x19, 0x1): "Genoa",
        (0x19, 0xA): "Genoa",
        (0x1A, 0x0): "Turin",
        (0x1A, 0x1): "Turin",
    }
    return products.get((family, group))


def tcb_parts(raw: bytes, product: Product) -> dict[str, int]:
    """Return the security versions in a TCB_VERSION, reserved ones left out."""
    named = zip(TCB_PARTS[product], raw, strict=True)
    return {name: value for name, value in named if not name.startswith("spl")}


def _numbers(data: bytes) -> bytes:
    """Return r and s big-endian; what is cut off here is compared when written again."""
    middle = SIGNED_BYTES + _NUMBER_BYTES
    r, s = data[SIGNED_BYTES:middle], data[middle : middle + _NUMBER_BYTES]
    return r[:_P384_BYTES][::-1] + s[:_P384_BYTES][::-1]
