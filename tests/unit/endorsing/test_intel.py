"""What Intel is asked about a quote, and what of its answers becomes collateral."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from cloister.attestation.evidence import Evidence
from cloister.endorsing.intel import IntelWish, signed_text
from cloister.endorsing.questions import Answer
from cloister.errors import CloisterError, ConfigError
from cloister.tee.intel.layout import Quote
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, Minted
from endorsing_bench import INTEL, MINTED, NOW, WISH, Bench
from evidence_samples import folder, instant, load


def test_a_quote_names_its_model() -> None:
    """TEE, model, and who certified it."""
    assert IntelWish.of(Quote.from_bytes(MINTED.quote)) == WISH
    sgx = INTEL.mint(
        IntelCase("sgx3", fmspc=bytes(range(6)), names={"ca": "Intel SGX PCK Processor CA"})
    )
    found = IntelWish.of(Quote.from_bytes(sgx.quote))
    assert found == IntelWish("sgx", bytes(range(6)), "processor")


@pytest.mark.spec("ES-3")
def test_a_quote_without_its_certificate_names_nothing() -> None:
    """A person has to say it."""
    quote = Quote.from_bytes(INTEL.mint(IntelCase("sgx3", certification_type=3)).quote)
    with pytest.raises(ConfigError) as e:
        IntelWish.of(quote)
    assert "--fmspc" in (e.value.hint or "")
    other = INTEL.mint(IntelCase("sgx3", names={"ca": "Another CA"}))
    with pytest.raises(CloisterError):
        IntelWish.of(Quote.from_bytes(other.quote))


@pytest.mark.spec("ES-14", "EB-6")
@pytest.mark.parametrize("lists", ["der", "hexadecimal"])
@pytest.mark.parametrize("kind", ["sgx3", "tdx4"])
def test_four_answers_are_the_collateral(bench: Bench, kind: str, lists: str) -> None:
    """Of Intel or of a PCCS; the verifier takes it under the simulated root."""
    minted = INTEL.mint(IntelCase("sgx3" if kind == "sgx3" else "tdx4"))
    bench.endorsers.intel(minted, pccs=lists == "hexadecimal")
    wish = IntelWish.of(Quote.from_bytes(minted.quote))
    (item,) = wish.collect(bench.asking().answer)
    verifier = (SgxVerifier if kind == "sgx3" else TdxVerifier)((INTEL.anchor,))
    claims = verifier.verify(minted.evidence, [item.endorsement], at=NOW)
    assert (claims.status, claims.hardware_rooted) == ("UpToDate", False)
    assert item.source.count(" ") == 3
    assert item.at == NOW


def answers(bench: Bench) -> list[Answer]:
    """What Intel answers."""
    return [bench.asking().answer(question) for question in WISH.questions()]


def judged(number: int, answer: Answer) -> str:
    """The code with which an answer is refused; empty where it is taken."""
    try:
        WISH.questions()[number].judge(answer)
    except CloisterError as e:
        return e.code
    return ""


def changed(answer: Answer, case: Mapping[str, object], member: str) -> Answer:
    """An answer with the statement of another case."""
    bundle = INTEL.mint(IntelCase("tdx5", **case)).bundle  # type: ignore[arg-type]  # a test's knobs
    name = "tcb_info" if member == "tcbInfo" else "qe_identity"
    body = f'{{"{member}":{bundle[name]},"signature":"{bundle[f"{name}_signature"]}"}}'
    return replace(answer, body=body.encode())


@pytest.mark.spec("ES-14")
def test_answers_about_something_else_are_none(bench: Bench) -> None:
    """Another model, TEE, enclave, list or signer."""
    tcb, qe, pck_list, root_list = answers(bench)
    assert [judged(n, each) for n, each in enumerate((tcb, qe, pck_list, root_list))] == [""] * 4
    mismatch = "endorsement.mismatch"
    assert judged(0, changed(tcb, {"fmspc": bytes(6)}, "tcbInfo")) == mismatch
    enclaves = INTEL.mint(IntelCase("sgx3")).bundle
    said = f'{{"tcbInfo":{enclaves["tcb_info"]},"signature":"{enclaves["tcb_info_signature"]}"}}'
    assert judged(0, replace(tcb, body=said.encode())) == mismatch
    assert judged(1, changed(qe, {"qe": {"id": "QE"}}, "enclaveIdentity")) == mismatch
    assert judged(2, replace(pck_list, body=root_list.body)) == mismatch
    assert judged(3, replace(root_list, body=pck_list.body)) == mismatch
    for number, each in enumerate((tcb, qe)):
        swapped = replace(each, headers=tuple((n, pck_list.headers[0][1]) for n, _ in each.headers))
        assert judged(number, swapped) == mismatch
    for number, each in enumerate((tcb, qe, pck_list)):
        assert judged(number, replace(each, headers=())) == mismatch
        empty = replace(each, headers=tuple((name, "%00") for name, _ in each.headers))
        assert judged(number, empty) == "certificate.malformed"
    for body in (b"", b"zz", b"00" * 40, b"0\x82"):
        assert judged(3, replace(root_list, body=body)) == "certificate.malformed"


@pytest.mark.spec("ES-6")
def test_an_answer_counts_as_long_as_all_of_it(bench: Bench) -> None:
    """The signer's certificate too."""
    soon = NOW + 60
    bench.endorsers.intel(INTEL.mint(IntelCase("tdx5", windows={"signer": (NOW - 60, soon)})))
    tcb, qe, pck_list, _ = answers(bench)
    assert WISH.questions()[0].judge(tcb).end == soon
    assert WISH.questions()[1].judge(qe).end == soon
    assert WISH.questions()[2].judge(pck_list).end > soon


@pytest.mark.spec("ES-13")
def test_what_was_signed_is_taken_byte_for_byte() -> None:
    """Spaces, order, escapes and numbers stay as they are."""
    text = '{ "b":1.50, "a":"\\u0041}\\"", "c":[ ] }'
    body = f'{{"tcbInfo":{text},"signature":"{"0f" * 64}"}}'
    assert signed_text(body.encode(), "tcbInfo") == (text, "0f" * 64)


def test_genuine_collateral_comes_out_as_it_was_signed(bench: Bench) -> None:
    """Intel's own, where it is here, in the form of its service; judged under Intel's root."""
    judged = 0
    for described in sorted(folder("tdx").glob("*/sample.json")):
        facts, path = load(described), described.parent
        quote = (path / "quote.bin").read_bytes()
        for check in facts["checks"]:
            if not check["expect"]["default_verdict"].startswith("accept"):
                continue
            bundle = load(path / check["collateral"])
            at = instant(check["verify_at"])
            wish = IntelWish.of(Quote.from_bytes(quote))
            bench.endorsers.intel(Minted(quote, bundle, MINTED.evidence, ()), ca=wish.ca)
            bench.time.at = float(at)
            (item,) = wish.collect(bench.asking().answer)
            evidence = Evidence("application/vnd.cloister.tdx", quote)
            claims = TdxVerifier(tuple(INTEL_ROOTS)).verify(evidence, [item.endorsement], at=at)
            assert claims.hardware_rooted
            judged += 1
    assert judged > 2
