"""Readers for `targets.py` with harnesses of their own, and good bytes for each.

Wrappers of others, answers of endorsement services and of devices, images, reference values,
backups, and rows of a key service's state.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.ratls import (
    CMW_EXTENSION,
    DICE_EXTENSION,
    GRAMINE_EXTENSION,
    claims_buffer,
    cmw_extension,
    read_certificate_evidence,
    tagged_evidence,
)
from cloister.attestation.tsm_report import TSM_CBOR, TSM_JSON, read_tsm_report
from cloister.cleanroom.agreement import Offer, SignedTerms
from cloister.cleanroom.terms_text import parse_terms, terms_bytes, terms_from_canonical
from cloister.crypto.carrier import CarrierCertificate
from cloister.crypto.chain import to_pem
from cloister.crypto.digest import sha256
from cloister.crypto.keyring import KeyRing
from cloister.crypto.signature import VerifyingKey
from cloister.crypto.x509 import (
    CertificateAuthority,
    Identity,
    TLSKey,
    read_peer_certificate,
    require_authorities,
)
from cloister.endorsing.contents import describe
from cloister.endorsing.nvidia import WantedRim, rim_of_answer
from cloister.endorsing.wishes import wish_of
from cloister.keyservice import mirror, owner_replies
from cloister.keyservice.state import backup, key_rows
from cloister.keyservice.state.tables import Tables
from cloister.network.frames import ABORT, END, Answer, Greeting, Unframer, header
from cloister.network.names import Question
from cloister.tee.azure import metadata
from cloister.tee.corim import Corim, translate
from cloister.tee.endorsement_files import open_bundle, pem_body
from cloister.tee.nvidia.layout import REPORT_MEDIA_TYPE
from cloister.tee.registry import by_name
from cloister.tee.tdx.firmware import TdxFirmware
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.exchange import sized
from cloister.tee.tpm.public import PublicArea
from cloister.testing.cleanroom import sample_agreement, sample_terms, sample_text
from cloister.testing.images import tdx_firmware
from cloister.testing.state import MemoryBackend
from cloister.training.job_receipt import verify_job_receipt
from cloister.training.lines import LineReader
from cloister.training.privacy.statement import Statement
from cloister.volume.index import Index
from cloister.volume.placement import Placement
from cloister.volume.regions import RegionClass, Regions
from cloister.wire import Fields, decode, encode
from fuzz import (
    test_endorsement_sources,
    test_interop_parsers,
    test_reference_values,
    test_tpm_answers,
    test_volume_fuzz,
)
from unit.tee.tpm import test_commands, test_public

__all__ = [
    "ANSWERS",
    "BACKUPS",
    "CHOOSING",
    "DEVICES",
    "INDEXES",
    "REFERENCES",
    "RELAYS",
    "REPLIES",
    "REQUESTS",
    "WRAPPERS",
    "bundle_of",
    "in_pieces",
    "pieces",
]

Reader = Callable[[bytes], object]
Table = list[tuple[Reader, list[bytes]]]
AT: Final = 1_800_000_000
VECTORS: Final = Path(__file__).parents[2] / "docs" / "spec" / "vectors"


def _vectors(page: str, name: str, **having: str) -> list[bytes]:
    """The bytes of that name in a page's good vectors, each once."""
    cases = [
        json.loads(path.read_text("utf-8")) for path in sorted((VECTORS / page).glob("*.json"))
    ]
    return [
        bytes.fromhex(case[name])
        for case in cases
        if name in case and case["expect"] == "ok" and having.items() <= case.items()
    ]


# Wrappers, and certificates that carry evidence. A certificate that was changed is not signed any
# more: what one carries is read in one that is made for it.

_TDX: Final = "application/vnd.cloister.tdx"
_CARRIER_KEY: Final = test_interop_parsers.KEY
_MEDIA_TYPES: Final = test_interop_parsers.MEDIA_TYPES
_CERTIFICATES: Final = _vectors("evidence-interop-v1", "certificate")
_QUOTE: Final = test_endorsement_sources.MINTED.quote
_CLAIMS: Final = claims_buffer(_CARRIER_KEY.public_key_info(), b"n" * 32)


def _cmw(data: bytes) -> object:
    """A CMW; what is read is written again, and reads the same."""
    return test_interop_parsers.read(data)  # type: ignore[func-returns-value]  # it asserts


def _certificate(data: bytes) -> object:
    carrier = CarrierCertificate.from_der(data)
    return read_certificate_evidence(carrier, media_types=_MEDIA_TYPES, at=AT)


def _certificate_file(data: bytes) -> object:
    carrier = CarrierCertificate.from_pem(data)
    return read_certificate_evidence(carrier, media_types=_MEDIA_TYPES, at=AT)


def _carried(extension: str) -> Reader:
    def read(data: bytes) -> object:
        pem = _CARRIER_KEY.self_signed(extension=extension, value=data, at=AT, lifetime_s=60)
        return _certificate_file(pem)

    return read


def _claims(data: bytes) -> object:
    return _carried(DICE_EXTENSION)(tagged_evidence(Evidence(_TDX, _QUOTE), data))


def _report(media_type: str) -> Reader:
    return lambda data: read_tsm_report(media_type, data)


WRAPPERS: Final[Table] = [
    (_cmw, _vectors("evidence-interop-v1", "cmw")),
    (_certificate, _CERTIFICATES),
    (_certificate_file, [to_pem([_CERTIFICATES[0]])]),
    (_carried(CMW_EXTENSION), [cmw_extension(Evidence(_TDX, _QUOTE))]),
    (_carried(DICE_EXTENSION), [tagged_evidence(Evidence(_TDX, _QUOTE), _CLAIMS)]),
    (_carried(GRAMINE_EXTENSION), [_QUOTE]),
    (_claims, [_CLAIMS]),
    (_report(TSM_CBOR), [b"\xa2\x68provider\x69sev_guest\x67outblob\x43abc"]),
    (_report(TSM_JSON), [b'{"provider": "tdx_guest\\n", "outblob": "YWJj", "auxblob": ""}']),
]


# What services of manufacturers answer, and which of it is chosen for evidence.

_SOURCES: Final = test_endorsement_sources
_BOARD: Final = _SOURCES.GPU.report(bytes(32), board=("G520", "0200", "895")).to_bytes()
_RIM: Final = _SOURCES.NVIDIA.rims(_SOURCES.GPU)[0].body


def _described(media_type: str) -> Reader:
    return lambda data: describe(Endorsement(media_type, data))


def _wished(kind: str, media_type: str) -> Reader:
    """What evidence asks for, addresses included."""

    def read(data: bytes) -> object:
        given = [_SOURCES.GPU.chain] if kind == "nvidia" else []
        return wish_of(Evidence(media_type, data), kind, product="Milan", endorsements=given).about

    return read


ANSWERS: Final[Table] = [
    *((reader, [good]) for name, (reader, good) in _SOURCES.PARSERS.items() if name != "rim"),
    (
        lambda data: rim_of_answer(data, WantedRim("NV_x")),
        [json.dumps({"id": "NV_x", "rim": base64.b64encode(_RIM).decode()}).encode()],
    ),
    *((_described(each.media_type), [each.body]) for each in _SOURCES.ENDORSEMENTS),
    (metadata._quote, [b'{"quote": "YWJj"}']),
    (pem_body, [to_pem([_SOURCES.CHIP.certificate])]),
]


_REPORT: Final = Evidence("application/vnd.cloister.snp", _SOURCES.CHIP.report())
_TD: Final = _SOURCES.MINTED.evidence
_OWN: Final = _SOURCES.ENDORSEMENTS[:4]


def _chosen(kind: str, evidence: Evidence, part: Endorsement) -> Reader:
    """Choose where one part came along changed, and the judge's own are good."""
    root = by_name(kind)
    assert root is not None

    def read(data: bytes) -> object:
        return root.choose(evidence, (Endorsement(part.media_type, data),), _OWN)

    return read


CHOOSING: Final[Table] = [
    (_chosen("tdx", _TD, _SOURCES.MINTED.endorsements[0]), [_SOURCES.MINTED.collateral]),
    *(
        (_chosen("snp", _REPORT, each), [each.body])
        for each in _SOURCES.AMD.endorsements(_SOURCES.CHIP)
    ),
    (_wished("tdx", _TD.media_type), [_TD.body]),
    (_wished("snp", _REPORT.media_type), [_REPORT.body]),
    (_wished("nvidia", REPORT_MEDIA_TYPE), [_BOARD]),
]


def bundle_of(data: bytes, collector: VerifyingKey) -> object:
    """A bundle as a file, whose collector somebody named."""
    return open_bundle(data, collectors=[collector])


# Images, and reference values about them.

_TABLES: Final = ("tdx", "snp", "tpm", "cca")


def _image(data: bytes) -> object:
    found = TdxFirmware.from_bytes(data)
    return found.mrtd("page"), found.mrtd("section")


def _corim(kind: str) -> Reader:
    root = by_name(kind)
    assert root is not None
    return lambda data: translate(Corim.from_bytes(data), kind, root.fields()).merged()


def _signed_corim(data: bytes) -> object:
    return Corim.from_bytes(data).require_signed(test_reference_values.KEY, at=AT)  # type: ignore[func-returns-value]  # it raises or not


REFERENCES: Final[Table] = [
    (_image, [tdx_firmware(), test_reference_values.FIRMWARE]),
    *((_corim(kind), _vectors("reference-values-v1", "file", kind=kind)) for kind in _TABLES),
    (_signed_corim, [test_reference_values.CORIMS["signed"]]),
]


# Answers of a TPM: which question is asked, then each answer behind its length.

_ECC: Final = test_public.ECC
_TPM_KEY: Final = 0x01400001


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield what stands behind lengths of two bytes."""
    while len(data) > 2:
        length = int.from_bytes(data[:2], "little")
        yield data[2 : 2 + length]
        data = data[2 + length :]


def in_pieces(*parts: bytes) -> bytes:
    """Put a length before each part."""
    return b"".join(len(each).to_bytes(2, "little") + each for each in parts)


def _asked(ask: Callable[[Tpm], object]) -> Reader:
    def read(data: bytes) -> object:
        device = test_tpm_answers.Hostile(list(pieces(data)))
        tpm = Tpm(device, deadline_s=0, sleep=lambda _seconds: None, clock=lambda: 0.0)
        return ask(tpm)

    return read


def _nv(index: int, size: int) -> bytes:
    said = index.to_bytes(4, "big") + bytes.fromhex("000b 20060006 0000") + size.to_bytes(2, "big")
    return test_commands.ok(sized(said) + sized(b""))


_PUBLIC: Final = test_commands.ok(sized(_ECC) + sized(b"name") + sized(b"name"))
_PASSED: Final = test_commands.passed
_GIVEN: Final[Sequence[bytes]] = (
    in_pieces(_PUBLIC),
    in_pieces(_PASSED(sized(_ECC) + sized(b""), handle=b"\x80\0\0\0")),
    in_pieces(_PASSED(sized(b"message") + b"signature")),
    in_pieces(test_commands.pcrs(1, 0xB, 0, 1)),
    in_pieces(_nv(_TPM_KEY, 4), _PASSED(sized(b"abcd"))),
    in_pieces(_nv(_TPM_KEY + 1, 1), _PASSED(b"")),
    in_pieces(test_commands.ok(b"")),
    in_pieces(_PUBLIC, test_commands.pcrs(1, 0xB, *range(24)), _PASSED(sized(b"m") + b"s")),
)
DEVICES: Final[Table] = [
    *((_asked(ask), [good]) for ask, good in zip(test_tpm_answers.ASKS, _GIVEN, strict=True)),
    (PublicArea.from_bytes, [_ECC, test_public.RSA]),
]


# What a key service keeps and answers.


def _fields(data: bytes) -> Fields:
    return Fields.decode(data, what="reply", max_bytes=1 << 16)


def _lease(data: bytes) -> object:
    return owner_replies.read_owner_lease(_fields(data), lease=None)


def _items(data: bytes) -> object:
    found = decode(data, max_bytes=1 << 16)
    if not isinstance(found, list):
        return None
    owner_replies.read_records(found)
    owner_replies.read_octets(found)
    return None


def _receipt(data: bytes) -> object:
    return owner_replies.read_receipt(decode(data, max_bytes=1 << 16), "note")


def _key_row(data: bytes) -> object:
    return key_rows.key_change(Tables({"meta": {b"state-key": data}}))


_RING: Final = KeyRing(3, (b"1" * 32, b"2" * 32))
REPLIES: Final[Table] = [
    (_lease, [encode(_RING.to_value() | {"version": 1, "root": b"r" * 32, "epoch": 1})]),
    (lambda data: owner_replies.read_role_count(_fields(data)),
     [encode({"live": 1, "maximum": 3})]),
    (_receipt, [encode({"leaf": b"l", "index": 1, "proof": [b"h" * 32]})]),
    (_items, [encode([b"h" * 32])]),
    (_key_row, _vectors("keyservice-state-v1", "row")[:1]),
    (mirror._leaf, [base64.b64encode(b"leaf")]),
]  # fmt: skip


def _backup(data: bytes) -> object:
    """A backup of a file in memory: each part of it, as whoever restores one reads it."""
    descriptor = os.memfd_create("backup")
    try:
        os.write(descriptor, data)
        opened = backup.Backup(Path(f"/proc/self/fd/{descriptor}"))
        with contextlib.closing(opened):
            return (
                list(opened.slots()),
                list(opened.records(0)),
                list(opened.log(0, 2)),
                opened.log_size(),
                backup.head_of(opened),
            )
    finally:
        os.close(descriptor)


def _whole_backup(data: bytes) -> object:
    """A backup that ends as it must, whatever is in it."""
    data = backup.MAGIC + data
    end = encode(["end", sha256(data)])
    return _backup(data + len(end).to_bytes(4, "big") + end)


def _written() -> bytes:
    rows = [backup.LogRow(n, b"sealed", bytes([n]) * 32) for n in range(3)]
    slots = {"format": b"f", "state-key/x": b"k"}
    held = MemoryBackend(slots, {5: b"five", 6: b"six"}, (4, b"d" * 32 + b"snapshot"), rows)
    file = BytesIO()
    backup.write_backup(held, file, progress=lambda _done, _total: None)
    return file.getvalue()


_END: Final = 4 + len(encode(["end", bytes(32)]))
BACKUPS: Final[Table] = [
    (_backup, [_written()]),
    (_whole_backup, [_written()[len(backup.MAGIC) : -_END]]),
]

_AUTHORITY: Final = CertificateAuthority.create(trust_domain="d.test", at=AT, lifetime_s=600)
_INSTANCE: Final = Identity("d.test", "lab", "p", "r", "one")


def _request(data: bytes) -> bytes:
    """A request for a certificate, as a key service gets one from a workload."""
    return _AUTHORITY.issue(
        data, _INSTANCE, policy_hash=b"p" * 32, hardware_rooted=False, at=AT, lifetime_s=60
    )


def _peer(data: bytes) -> object:
    return read_peer_certificate(data, ca_pem=_AUTHORITY.certificate_pem, at=AT)


_REQUEST: Final = TLSKey.generate().request()
REQUESTS: Final[Table] = [
    (_request, [_REQUEST]),
    (_peer, [ssl.PEM_cert_to_DER_cert(_request(_REQUEST).decode())]),
    (require_authorities, [_AUTHORITY.certificate_pem]),
]


# What a relay reads: of a peer's relay inside of TLS, and of its own workload's programs.


def _frames(data: bytes) -> bytes:
    """A stream in pieces: the first byte says of what size."""
    unframer = Unframer()
    size = data[0] + 1 if data else 1
    return b"".join(unframer.feed(data[at : at + size]) for at in range(1, len(data), size))


RELAYS: Final[Table] = [
    (Greeting.from_bytes, [Greeting(2222).to_bytes()]),
    (Answer.read_from, [Answer.BUSY.encoded()]),
    (_frames, [b"\x02" + header(5) + b"hello" + END, b"\x00" + header(1) + b"x" + ABORT]),
    (Question.from_bytes, [b"\0\7\1\0\0\1\0\0\0\0\0\0\4ps-0\0\0\1\0\1"]),
]


# Indexes of volumes: several entries, each behind its length, in a volume with regions.

_REGIONS: Final = Regions({"/r": RegionClass.AUTHENTICATED, "/d/e": RegionClass.AUTHENTICATED})


def _index(data: bytes) -> object:
    index = Index()
    for entry in pieces(data):
        index.apply(entry, key_epoch=5)
    index.check()
    Placement(index, _REGIONS).check()
    return index.full()


def _entries() -> bytes:
    """A whole index, and one that takes a name, a file and sessions out of it."""
    index = Index()
    index.apply(test_volume_fuzz.index_items(rotations=2), key_epoch=5)
    index.committed()
    before = index.full()
    root = index.inodes[1]
    gone = index.drop_name(root, b"i")
    index.drop_inode(gone)
    return in_pieces(before, index.delta())


INDEXES: Final[Table] = [
    (_index, [in_pieces(test_volume_fuzz.index_items(rotations=0)), _entries()]),
]


_JOB: Final = json.loads(
    (Path(__file__).parents[2] / "docs/spec/vectors/job-receipt-v1/ok.json").read_text("utf-8")
)


def _job_receipt(data: bytes) -> object:
    """A job's receipt beside those of its instances; `read_claims` refuses other files' names."""

    def read(name: str) -> bytes:
        return str(_JOB["files"].get(name, "")).encode()

    return verify_job_receipt(
        data,
        read,
        ca=_JOB["ca"].encode(),
        service=VerifyingKey.from_text(_JOB["service"]),
        origin=_JOB["origin"],
    )


def _output(data: bytes) -> object:
    """What a program writes, cut in two: nothing of it moves a terminal's cursor."""
    reader = LineReader()
    half = len(data) // 2
    lines = [*reader.feed(data[:half]), *reader.feed(data[half:]), *reader.end()]
    assert all(line.text.replace("\t", "").isprintable() for line in lines)
    return lines


_SPENT: Final = json.loads(
    (Path(__file__).parents[2] / "docs/spec/vectors/privacy-statement-v1/ok.json").read_text(
        "utf-8"
    )
)

JOBS: Final[Table] = [
    (Statement.from_bytes, [_SPENT["text"].encode()]),
    (_job_receipt, [_JOB["job"].encode()]),
    (_output, [b"\r1/3\x1b[1m\r2/3\n\xff\n", b"x" * 9000]),
]

ROOMS: Final[Table] = [
    (lambda data: parse_terms(data, source="fuzz"), [sample_text().encode()]),
    (terms_from_canonical, [terms_bytes(sample_terms())]),
    (Offer.from_bytes, [sample_agreement().to_bytes()]),
    (SignedTerms.from_bytes, [sample_agreement().to_bytes()]),
]
