"""From hostile answers, entries, endorsements and evidence, only our errors escape."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.endorsing.amd import AmdWish
from cloister.endorsing.asking import retry_after_s
from cloister.endorsing.cache import answer_bytes, read_answer
from cloister.endorsing.choosing import choose
from cloister.endorsing.contents import describe
from cloister.endorsing.intel import IntelWish, signed_text
from cloister.endorsing.nvidia import WantedRim, ocsp_question, rim_of_answer
from cloister.endorsing.questions import Answer
from cloister.endorsing.services import Service
from cloister.endorsing.wishes import KINDS, wish_of
from cloister.errors import CloisterError
from cloister.tee.registry import by_name
from cloister.tee.snp.layout import Report
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia

AT: Final = 1_800_000_000
MINTED: Final = SimulatedIntel(b"fuzz", at=AT).mint(IntelCase("tdx5"))
AMD: Final = SimulatedAmd(b"fuzz", "Milan", now=AT)
CHIP: Final = AMD.chip()
NVIDIA: Final = SimulatedNvidia("fuzz", at=AT)
GPU: Final = NVIDIA.gpu("HOPPER")
INTEL: Final = IntelWish("tdx", bytes.fromhex("00906ed50000"), "platform").questions()
VCEK: Final = AmdWish.of(Report.from_bytes(CHIP.report()), product="Milan").questions()
STATUS: Final = ocsp_question(*GPU.device.path[1:3])
BUNDLE: Final = MINTED.bundle
STATEMENT: Final = (
    f'{{"tcbInfo":{BUNDLE["tcb_info"]},"signature":"{BUNDLE["tcb_info_signature"]}"}}'
).encode()
ENDORSEMENTS: Final = (
    *MINTED.endorsements, *AMD.endorsements(CHIP), *NVIDIA.endorsements(GPU),
    *NVIDIA.ocsp_responses(GPU)[:1],
)  # fmt: skip


def _headers(data: bytes) -> object:
    text = data.decode("latin-1")
    return INTEL[0].judge(Answer("", AT, (("tcb-info-issuer-chain", text),), STATEMENT))


PARSERS: Final[dict[str, tuple[Callable[[bytes], object], bytes]]] = {
    "statement": (lambda data: signed_text(data, "tcbInfo"), STATEMENT),
    "headers": (_headers, BUNDLE["tcb_info_issuer_chain"].replace("\n", "%0A").encode()),
    "entry": (read_answer, answer_bytes(Answer("u", AT, (("a", "b"),), b"body"))),
    "rim": (
        lambda data: rim_of_answer(data, WantedRim("NV_x")),
        json.dumps({"id": "NV_x", "rim": "PHgvPg=="}).encode(),
    ),
    "status": (
        lambda data: STATUS.judge(Answer("", AT, (), data)),
        NVIDIA.ocsp_responses(GPU)[0].body,
    ),
    "vcek": (lambda data: VCEK[2].judge(Answer("", AT, (), data)), CHIP.certificate),
    "chain": (lambda data: VCEK[0].judge(Answer("", AT, (), data)), AMD.chain()),
    "list": (lambda data: VCEK[1].judge(Answer("", AT, (), data)), AMD.revocations()),
    "root list": (
        lambda data: INTEL[3].judge(Answer("", AT, (), data)),
        BUNDLE["root_ca_crl"].encode(),
    ),
    "address": (lambda data: Service.of("intel", data.decode("latin-1")), b"https://a.example/x"),
    "retry-after": (lambda data: retry_after_s(data.decode("latin-1"), now=AT), b"120"),
}


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_answers(name: str, data: st.DataObject) -> None:
    """Anything, and good ones that were changed."""
    parse, good = PARSERS[name]
    at = data.draw(st.integers(0, len(good) - 1))
    piece = data.draw(st.binary(max_size=8))
    for bad in (data.draw(st.binary(max_size=200)), good[:at] + piece + good[at + len(piece) :]):
        with contextlib.suppress(CloisterError):
            parse(bad)


@settings(max_examples=30)
@given(data=st.data())
def test_endorsements_and_choosing(data: st.DataObject) -> None:
    """A bundle's items under changed bytes; choosing never fails, and adds nothing."""
    good = data.draw(st.sampled_from(ENDORSEMENTS))
    at = data.draw(st.integers(0, len(good.body) - 1))
    piece = data.draw(st.binary(max_size=8))
    bad = Endorsement(good.media_type, good.body[:at] + piece + good.body[at + len(piece) :])
    with contextlib.suppress(CloisterError):
        describe(bad)
    given_ = [*ENDORSEMENTS, bad]
    for kind, evidence in (
        ("tdx", MINTED.evidence),
        ("snp", Evidence("application/vnd.cloister.snp", CHIP.report())),
        ("nvidia", GPU.evidence(bytes(32))),
    ):
        assert set(choose(evidence, kind, given_, at=AT)) <= set(given_)


@pytest.mark.parametrize("kind", KINDS)
@given(body=st.binary(max_size=1300))
def test_evidence(kind: str, body: bytes) -> None:
    """Whatever evidence says, it asks for something or is an error of ours."""
    root = by_name(kind)
    assert root is not None
    for media_type in root.media_types:
        with contextlib.suppress(CloisterError):
            wish_of(Evidence(media_type, body), kind, product="Milan", endorsements=ENDORSEMENTS)
