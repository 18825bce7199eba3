"""Every parser of hostile bytes as one entry: what reads, and good bytes to begin with.

`run.py` gives each to a fuzzer that sees which branches were reached, `test_targets.py` a handful
of inputs, and holds the table against the code: a parser that none of these reaches is an error.
Several parsers of one kind share a target; the first byte of an input picks one of them.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography.x509.ocsp import OCSPCertStatus

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.cli import evidence_files
from cloister.crypto import chain
from cloister.crypto.digest import sha256
from cloister.crypto.jose import KeySet
from cloister.crypto.ocsp import OcspResponse
from cloister.crypto.signature import SigningKey
from cloister.crypto.vendor_keys import EcdsaKey, RsaKey
from cloister.errors import CloisterError
from cloister.inference.json_body import read_body
from cloister.inference.message import Body
from cloister.inference.model_config import read_config, read_labels, read_version_rule
from cloister.inference.tensor import TensorSpec
from cloister.inference.text_tensor import texts_from_binary
from cloister.inference.tfserving import read_examples, read_predict
from cloister.keyservice.policy.charter import parse_charter
from cloister.keyservice.policy.evidence import parse_evidence_policy
from cloister.keyservice.state.record import Record, Snapshot
from cloister.keyservice.statements import read_statement
from cloister.launcher.manifest import Entry, Manifest, decode_entries, encode_entries
from cloister.tee.azure.layout import SNP_TYPE, AzureEvidence, HclReport, RuntimeData
from cloister.tee.azure.tdreport import require_same_td
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.cca.verifier import CcaVerifier
from cloister.tee.endorsement_files import sorted_out
from cloister.tee.intel.endorsements import read_collateral
from cloister.tee.intel.layout import EnclaveReport, Quote
from cloister.tee.intel.pck import SGX_EXTENSION, read_chain, read_extension
from cloister.tee.intel.qe_identity import read_qe_identity
from cloister.tee.intel.tcb_info import read_tcb_info
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.tee.nvidia.endorsements import Collateral
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.registry import by_name
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.sim.layout import REPORT_LABEL, SignedReport, SimReport
from cloister.tee.sim.verifier import SimVerifier
from cloister.tee.snp.certificate import ChipCertificate
from cloister.tee.snp.host_table import read_host_table
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_REPORT_TYPE
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tdx.eventlog import read_log, replay, without_filling
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.layout import LoggedQuote, TdReport, read_quote
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.tee.tpm.event_log import EventLog
from cloister.tee.tpm.layout import MEDIA_TYPE as TPM_TYPE
from cloister.tee.tpm.layout import Quote as TpmQuote
from cloister.tee.tpm.layout import Signature
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing import fuse_kernel
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm, td_report
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nitro import SimulatedNitro
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list, packed_evidence
from cloister.testing.manufacturers.tpm import SimulatedTpm
from cloister.volume.format import ENTRY_HEADER_BYTES, EntryHeader, Superblock
from cloister.volume.index import Index
from cloister.wire import decode
from cloister.wire.foreign_cbor import read_foreign
from cloister.wire.strict_json import read_json
from fuzz import (
    assessment_readers,
    channel_readers,
    http_readers,
    middle_readers,
    model_readers,
    package_readers,
    private_readers,
    query_readers,
    readers,
    round_readers,
    test_device_parsers,
    test_ear_parsers,
    test_fuse_session,
    test_inference_message,
    test_keyservice_parsers,
    test_release_policy,
    test_volume_fuzz,
)

__all__ = ["TARGETS", "Reader", "Target", "one_input"]

Reader = Callable[[bytes], object]
AT: Final = 1_800_000_000
NONCE: Final = bytes(range(32))
VECTORS: Final = Path(__file__).parents[2] / "docs" / "spec" / "vectors"
KEY: Final = SigningKey(b"k" * 32)
_ROWS: Final = (TensorSpec("x", "FP32", (-1, 2)),)
INTEL: Final = SimulatedIntel(b"targets", at=AT)
MINTED: Final = {kind: INTEL.mint(IntelCase(kind)) for kind in ("sgx3", "sgx5", "tdx4", "tdx15ex")}
AMD: Final = SimulatedAmd(b"targets", "Genoa", now=AT)
CHIP: Final = AMD.chip()
TPM: Final = SimulatedTpm(b"targets", now=AT)
TPM_EC: Final = SimulatedTpm(b"targets", scheme="ECDSA", now=AT)
AZURE: Final = SimulatedAzureVm(b"targets", now=AT)
NVIDIA: Final = SimulatedNvidia("targets", at=AT)
GPU: Final = NVIDIA.gpu("HOPPER")
NITRO: Final = SimulatedNitro("targets", at=AT)
CCA: Final = SimulatedCca("targets")
CHIP_KEY: Final = ChipCertificate.from_der(CHIP.certificate).key
CHAIN: Final = Quote.from_bytes(MINTED["sgx3"].quote).signature.certification


class Target:
    """Readers that share one harness, each with good bytes."""

    def __init__(self, *readers: tuple[Reader, Sequence[bytes]]) -> None:
        """Take each reader with what it reads."""
        self._readers: Final = [reader for reader, _ in readers]
        many = len(readers) > 1
        self.corpus: Final = [
            (bytes([number]) if many else b"") + good
            for number, (_, goods) in enumerate(readers)
            for good in goods
        ]

    @property
    def readers(self) -> int:
        """How many there are."""
        return len(self._readers)

    def reader_of(self, data: bytes) -> int:
        """Return the number of the reader that an input picks."""
        return data[0] % len(self._readers) if len(self._readers) > 1 and data else 0

    def read(self, data: bytes) -> object:
        """Give an input to the reader that it picks."""
        if len(self._readers) == 1:
            return self._readers[0](data)
        return self._readers[self.reader_of(data)](data[1:]) if data else None


def one_input(target: Target, data: bytes) -> None:
    """Read hostile bytes: only our errors come out."""
    with contextlib.suppress(CloisterError):
        target.read(data)


def _verifying(verifier: Any, media_type: str, given: Sequence[Endorsement] = ()) -> Reader:
    return lambda data: verifier.verify(Evidence(media_type, data), given, at=AT)


def _intel(name: str, kinds: Sequence[str]) -> tuple[Reader, list[bytes]]:
    verifier = (SgxVerifier if name == "sgx" else TdxVerifier)([INTEL.anchor])
    given = MINTED[kinds[0]].endorsements
    reader = _verifying(verifier, f"application/vnd.cloister.{name}", given)
    return reader, [MINTED[kind].quote for kind in kinds]


def _collateral(data: bytes) -> object:
    return SgxVerifier([INTEL.anchor]).verify(
        MINTED["sgx3"].evidence,
        [Endorsement("application/vnd.cloister.intel-collateral+json", data)],
        at=AT,
    )


def _extension(data: bytes) -> object:
    with contextlib.suppress(KeyError, ValueError):  # `PckExtension.of` turns these into ours
        return read_extension(data)
    return None


def _logged() -> list[bytes]:
    return [LoggedQuote(MINTED["tdx4"].quote, "ccel", TDX_LOG).to_bytes()]


def _ccel(data: bytes) -> object:
    return replay(read_log("ccel", without_filling(data)))


def _dstack(data: bytes) -> object:
    return replay(read_log("dstack", data))


def _td_report(data: bytes) -> object:
    return require_same_td(data, MINTED["tdx4"].quote)


def _snp_part(media_type: str) -> Reader:
    verifier, report = SnpVerifier([AMD.anchor]), Evidence(SNP_REPORT_TYPE, CHIP.report())
    rest = [each for each in AMD.endorsements(CHIP) if each.media_type != media_type]
    return lambda data: verifier.verify(report, [*rest, Endorsement(media_type, data)], at=AT)


def _gpu_part(media_type: str) -> Reader:
    def read(data: bytes) -> object:
        given = [Endorsement(media_type, data)]
        Collateral.from_endorsements(given)
        chained = [] if "pem" in media_type else [GPU.chain]
        return NvidiaVerifier(NVIDIA.anchors).verify(GPU.evidence(NONCE), chained + given, at=AT)

    return read


def _tpm_chain(data: bytes) -> object:
    given = [Endorsement("application/pem-certificate-chain", data)]
    return TpmVerifier([TPM.anchor]).verify(Evidence(TPM_TYPE, TPM.evidence(NONCE)), given, at=AT)


def _file(data: bytes) -> object:
    """As the command reads a file that somebody names, whatever is in it."""
    return sorted_out(data, "file", named=True)


def _registers(data: bytes) -> object:
    return evidence_files._registers(data, [("sha256", 0)])


def _bundle(data: bytes) -> object:
    return EndorsementBundle.open(data, collectors=[KEY.public])


def _bundle_file(data: bytes) -> object:
    return readers.bundle_of(data, KEY.public)


def _fields_of(name: str) -> Any:
    root = by_name(name)
    return None if root is None else root.fields()


def _evidence_policy(data: bytes) -> object:
    return parse_evidence_policy(data, source="fuzz", fields=_fields_of)


def _statement(data: bytes) -> object:
    return read_statement(data, "cloister/keyservice-reset/v1")


def _token(data: bytes) -> object:
    test_ear_parsers.judge(data.decode("utf-8", "replace"), test_ear_parsers.KEYS)
    return None


def _vector_token(data: bytes) -> object:
    test_ear_parsers.judge(data.decode("utf-8", "replace"), KeySet.from_bytes(_JWKS[0]))
    return None


def _index(data: bytes) -> object:
    index = Index()
    index.apply(data, key_epoch=5)
    index.check()
    return index


def _entry_header() -> bytes:
    files = test_volume_fuzz.genuine(rotations=0).store.files
    (journal,) = (data for name, data in files.items() if name.startswith("journal/"))
    return bytes(journal[:ENTRY_HEADER_BYTES])


def _inference(data: bytes) -> object:
    length = int.from_bytes(data[:2], "little")
    test_inference_message.read(Body(data[2:], None if length == 0xFFFF else length))
    return None


def _body(data: bytes) -> object:
    with contextlib.suppress(ValueError):  # its callers turn it into ours
        return read_body(data)
    return None


def _texts(data: bytes) -> object:
    return texts_from_binary(memoryview(data), shape=(1,), name="y")


def _fuse(data: bytes) -> object:
    """A session that several requests reach, each behind its length."""
    session = test_fuse_session.new_session()
    try:
        while len(data) > 2:
            length = int.from_bytes(data[:2], "little")
            request, data = data[2 : 2 + length], data[2 + length :]
            session.handle(memoryview(bytearray(request)))
    finally:
        session.end()
    return None


def _requests(*requests: bytes | memoryview) -> bytes:
    return b"".join(len(each).to_bytes(2, "little") + bytes(each) for each in requests)


def _as_json(data: bytes) -> object:
    return read_json(data, what="x", max_bytes=4096, max_depth=8, code="message.malformed")


def _as_foreign(data: bytes) -> object:
    return read_foreign(data, what="x", max_bytes=16384, code="evidence.malformed")


def _as_cbor(data: bytes) -> object:
    return decode(data, max_bytes=16384)


def _table() -> bytes:
    """AMD's table of certificates, as hosts give it: entries, an empty one, then what they name."""
    names = {
        "63da758d-e664-4564-adc5-f4b93be8accd": CHIP.certificate,
        "4ab7b379-bbac-4fe4-a02f-05aef327c782": AMD.issuers["VCEK"],
        "c0b406a4-a803-4952-9743-3fb6014cd0ae": AMD.root,
    }
    at = 24 * (len(names) + 1)
    entries, bodies = b"", b""
    for name, body in names.items():
        entries += uuid.UUID(name).bytes_le + at.to_bytes(4, "little")
        entries += len(body).to_bytes(4, "little")
        bodies, at = bodies + body, at + len(body)
    return entries + bytes(24) + bodies


def _tables(table: Mapping[str, tuple[Reader, bytes]]) -> Target:
    return Target(*((reader, [good]) for reader, good in table.values()))


def _vectors(page: str, name: str) -> list[Any]:
    return [
        found[name]
        for path in sorted((VECTORS / page).glob("*.json"))
        if name in (found := json.loads(path.read_text("utf-8")))
    ]


TDX_LOG: Final = bytes.fromhex(
    "01000000" "03000000" + "00" * 20 + "21000000"
    + b"Spec ID Event03\0".hex() + "00000000" "00020002" "01000000" "0c003000" "00"
    "01000000" "08000000" "01000000" "0c00" + "aa" * 48 + "01000000" "70"
)  # fmt: skip
DSTACK_LOG: Final = json.dumps(
    [{"imr": 0, "event_type": 1, "digest": "aa" * 48, "event": "", "event_payload": "00"}]
).encode()
RSA_AND_EC: Final = [TPM.ak, TPM_EC.ak]
PEM_PATH: Final = AMD.chain()
_RESPONSES: Final = [
    each.body for each in NVIDIA.ocsp_responses(GPU, status=OCSPCertStatus.GOOD)[:2]
]
_RUNTIME: Final = json.dumps(AZURE.runtime()).encode()
_QUOTE: Final = TPM.quote(NONCE)
_SIM_KEY: Final = SigningKey(bytes(32))
_SIM: Final = SimReport(_SIM_KEY.public.raw, NONCE, bytes(64), debug=False, svn=1).to_bytes()
_JWKS: Final = [each.encode() for each in dict.fromkeys(_vectors("ear-v1", "jwks"))]
_TOKENS: Final = [each.encode() for each in dict.fromkeys(_vectors("ear-v1", "token"))]
_OWNER: Final = "ed25519:" + "a1" * 32
_CHARTER: Final = f"""\
charter: cloister/namespace/v1
namespace: clinic/imaging
predecessor: none
approvers: ["{_OWNER}"]
threshold: 1
timeout: 604800
readers: []
quotas: {{policies: 20, volumes: 200, secrets: 50, members: 50, requests_per_minute: 600}}
"""
_EVIDENCE_POLICY: Final = "\n".join(
    [
        "evidence_policy: cloister/v1",
        "kind: tdx",
        "anchors: [manufacturer]",
        "claims:",
        *(
            f"  {each.path}: {{unchecked: nobody looks here}}"
            for each in TDX_FIELDS
            if each.required
        ),
        "  fmspc: {one_of: [00806f050000]}\n",
    ]
)
_ALL_DEVICES: Final = dict(test_device_parsers.PARSERS)
_KEYSERVICE: Final = dict(sorted(test_keyservice_parsers.PARSERS.items()))
_BUNDLE: Final = EndorsementBundle.make(
    [Collected(each, "https://example.test/", AT) for each in AMD.endorsements(CHIP)], KEY
)[1]
_MANIFEST: Final = Manifest({b"a": encode_entries([Entry(b"x", "f", sha256(b"x"))]), b"b": b""})

TARGETS: Final[dict[str, Target]] = {
    "sgx": Target(_intel("sgx", ["sgx3", "sgx5"])),
    "tdx": Target(
        _intel("tdx", ["tdx4", "tdx15ex"]),
        (_verifying(TdxVerifier([INTEL.anchor]), "application/vnd.cloister.tdx+cbor",
                    MINTED["tdx4"].endorsements), _logged()),
        (read_quote, [MINTED["tdx4"].quote]),
        (TdReport.from_bytes, [Quote.from_bytes(MINTED["tdx15ex"].quote).body]),
        (EnclaveReport.from_bytes, [Quote.from_bytes(MINTED["sgx3"].quote).body]),
        (_td_report, [td_report(read_quote(MINTED["tdx4"].quote)[1])]),
    ),
    "snp": Target(
        (_verifying(SnpVerifier([AMD.anchor]), SNP_REPORT_TYPE, AMD.endorsements(CHIP)),
         [CHIP.report(version=version) for version in (3, 5)]),
    ),
    "tpm": Target(
        (_verifying(TpmVerifier([TPM.anchor]), TPM_TYPE, TPM.endorsements()),
         [TPM.evidence(NONCE)]),
        (_verifying(TpmVerifier([TPM_EC.anchor]), TPM_TYPE, TPM_EC.endorsements()),
         [TPM_EC.evidence(NONCE)]),
        (TpmQuote.from_bytes, [_QUOTE.message]),
        (Signature.from_bytes, [_QUOTE.signature, TPM_EC.quote(NONCE).signature]),
    ),
    "azure": Target(
        (_verifying(AzureSnpVerifier([AZURE.amd.anchor]), SNP_TYPE, AZURE.endorsements()),
         [AZURE.evidence(NONCE)]),
        (AzureEvidence.from_bytes, [AZURE.evidence(NONCE)]),
        (HclReport.from_bytes, [HclReport("snp", AZURE.chip.report(), _RUNTIME).to_bytes()]),
        (RuntimeData.from_bytes, [_RUNTIME]),
    ),
    "nvidia": Target(
        (_verifying(NvidiaVerifier(NVIDIA.anchors), GPU.evidence(NONCE).media_type, [GPU.chain]),
         [GPU.evidence(NONCE).body]),
        (_verifying(NvidiaVerifier(NVIDIA.anchors), evidence_list([GPU], NONCE).media_type),
         [evidence_list([GPU], NONCE).body]),
        (_verifying(NvidiaVerifier(NVIDIA.anchors), packed_evidence([GPU], NONCE).media_type),
         [packed_evidence([GPU], NONCE).body]),
    ),
    "nitro": Target(
        (_verifying(NitroVerifier([NITRO.anchor]), NITRO.evidence().media_type),
         [NITRO.evidence().body]),
    ),
    "cca": Target(
        (_verifying(CcaVerifier([CCA.anchor]), CCA.evidence().media_type, [CCA.key]),
         [CCA.evidence().body]),
    ),
    "sim": Target(
        (
            _verifying(SimVerifier([_SIM_KEY.public]), "application/vnd.cloister.sim+cbor"),
            [SignedReport(_SIM, _SIM_KEY.sign(REPORT_LABEL, _SIM)).to_bytes()],
        ),
    ),
    "devices": _tables(_ALL_DEVICES),
    "event logs": Target(
        (_ccel, [TDX_LOG]), (_dstack, [DSTACK_LOG]), (EventLog.from_bytes, [TPM.log()])
    ),
    "certificates": Target(
        (chain.read_pem_chain, [PEM_PATH]),
        (chain.read_plain_chain, [PEM_PATH]),
        (read_chain, [CHAIN]),
        (chain.Certificate.from_der, [AMD.root, MINTED["sgx3"].chain[0]]),
        (ChipCertificate.from_der, [CHIP.certificate]),
        (_extension, [read_chain(CHAIN)[0].extensions[SGX_EXTENSION]]),
        (_snp_part("application/pkix-cert"), [CHIP.certificate]),
        (_snp_part("application/pem-certificate-chain"), [AMD.chain()]),
        (_tpm_chain, [TPM.endorsements()[0].body]),
        (_gpu_part("application/pem-certificate-chain"), [GPU.chain.body]),
        (read_host_table, [_table()]),
    ),
    "revocation": Target(
        (chain.RevocationList.from_der, [AMD.revocations(), TPM.revocations("root")]),
        (_snp_part("application/pkix-crl"), [AMD.revocations()]),
        (OcspResponse.from_der, _RESPONSES),
        (_gpu_part("application/ocsp-response"), _RESPONSES),
    ),
    "keys": Target(
        (RsaKey.from_spki, RSA_AND_EC),
        (lambda data: EcdsaKey.from_spki(data, "P-256"), RSA_AND_EC),
        (lambda data: EcdsaKey.from_point(data, "P-384"), [CHIP_KEY.point]),
        (KeySet.from_bytes, _JWKS),
    ),
    "intel collateral": Target(
        (read_collateral, [MINTED["tdx4"].collateral]),
        (_collateral, [MINTED["sgx3"].collateral]),
        (read_tcb_info, [MINTED[kind].bundle["tcb_info"].encode() for kind in ("sgx3", "tdx4")]),
        (read_qe_identity, [MINTED["sgx3"].bundle["qe_identity"].encode()]),
    ),
    "manifests": Target(
        (_gpu_part(RIM_MEDIA_TYPE), [each.body for each in NVIDIA.rims(GPU)]),
    ),
    "endorsement bundle": Target((_bundle, [_BUNDLE]), (_bundle_file, [_BUNDLE])),
    "wrappers": Target(*readers.WRAPPERS),
    "endorsement answers": Target(*readers.ANSWERS),
    "endorsement choice": Target(*readers.CHOOSING),
    "reference values": Target(*readers.REFERENCES),
    "tpm answers": Target(*readers.DEVICES),
    "files": Target(
        (_file, [PEM_PATH, AMD.root, AMD.revocations(), CCA.key.body, MINTED["sgx3"].collateral,
                 NVIDIA.rims(GPU)[0].body, _RESPONSES[0]]),
        (_registers, [json.dumps({"bank": "sha256", "pcrs": {"0": "00" * 32}}).encode()]),
    ),
    "policies": Target(
        (_evidence_policy, [_EVIDENCE_POLICY.encode()]),
        (test_release_policy.read, [test_release_policy.TEXT, test_release_policy.NETWORKED]),
        (lambda data: parse_charter(data, source="fuzz"), [_CHARTER.encode()]),
        (test_release_policy.policy_from_canonical,
         [test_release_policy.FORM, test_release_policy.NETWORKED_FORM]),
    ),
    "key service": _tables(_KEYSERVICE),
    "key service replies": Target(*readers.REPLIES),
    "certificate requests": Target(*readers.REQUESTS),
    "backups": Target(*readers.BACKUPS),
    "jobs": Target(*readers.JOBS),
    "key service state": Target(
        (Record.from_bytes, [Record((), (b"entry",)).to_bytes()]),
        (Snapshot.from_bytes, [Snapshot(3, (b"p" * 32,), {"t": {b"a": b"1"}}).to_bytes()]),
        (_statement, [test_keyservice_parsers.RESET.to_text()]),
    ),
    "ear": Target((_token, _TOKENS), (_vector_token, _TOKENS)),
    "volume": Target(
        (Superblock.from_bytes, [test_volume_fuzz.genuine(rotations=0).store.files["superblock"]]),
        (EntryHeader.from_bytes, [_entry_header()]),
        (_index, [test_volume_fuzz.index_items(rotations=2)]),
    ),
    "volume index": Target(*readers.INDEXES),
    "inference": Target(
        (_inference, [b"\xff\xff" + b'{"inputs": []}', b"\x0e\x00" + b'{"inputs": []}' + bytes(8)]),
    ),
    "http": Target(*http_readers.HTTP),
    "tensorflow serving": Target(
        (partial(read_predict, inputs=_ROWS), [
            b'{"instances": [[1, 2], [3, 4]]}', b'{"inputs": {"x": [[1.5, 2]]}}',
            b'{"signature_name": "serving_default", "instances": [{"x": [1, 2]}]}',
        ]),
        (partial(read_examples, inputs=_ROWS, verb="classify"), [
            b'{"context": {}, "examples": [{"x": [1, 2]}]}',
        ]),
    ),
    "model files": Target(
        (read_config, [
            b'{"batching": {"rows": 8, "delay_ms": 2}}',
            b'{"classification": {"top": 3, "output": "y", "at_least": 0.5}}',
        ]),
        (read_labels, [b'["zero", "one"]']),
        (partial(read_version_rule, latest=1), [b'{"latest": 2, "labels": {"stable": 3}}']),
        (_texts, [b"\1\0\0\0a"]),
        (_body, [b'{"inputs": [1, 2.5, null, "x"]}']),
    ),
    "fuse": Target(
        (_fuse, [
            _requests(fuse_kernel.request(3, bytes(16))),
            _requests(
                fuse_kernel.request(4, bytes(88)),
                fuse_kernel.request(6, b"name\0target\0"),
                fuse_kernel.request(42, b"\1" + bytes(7) + b"\2" + bytes(7) + b"\1" + bytes(7)),
            ),
            _requests(fuse_kernel.request(35, bytes(16) + b"b\0"),
                      fuse_kernel.request(16, bytes(40) + b"data", node=2)),
        ]),
    ),
    "relays": Target(*readers.RELAYS),
    "packages": Target(*package_readers.PACKAGES),
    "assessments": Target(*assessment_readers.ASSESSMENTS),
    "models": Target(*model_readers.MODELS),
    "middles": Target(*middle_readers.MIDDLES),
    "room rounds": Target(*round_readers.ROUNDS),
    "room queries": Target(*query_readers.QUERIES),
    "private queries": Target(*private_readers.PRIVATE_QUERIES),
    "rooms": Target(*readers.ROOMS),
    "clean rooms": Target(*channel_readers.CHANNEL),
    "launch": Target(
        (Manifest.from_bytes, [_MANIFEST.to_bytes()]),
        (decode_entries, [encode_entries([Entry(b"x", "f", sha256(b"x"))])]),
    ),
    "wire": Target(
        (_as_cbor, [b"\xa1aa\x01", TPM.evidence(NONCE)]),
        (_as_foreign, [NITRO.evidence().body]),
        (_as_json, [b'{"a": [1, "b", null, true, 1.5]}']),
    ),
}  # fmt: skip
