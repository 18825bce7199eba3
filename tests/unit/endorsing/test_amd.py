"""What AMD is asked about a report, and which answers are about its chip."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.attestation.evidence import Evidence
from cloister.endorsing.amd import AmdWish
from cloister.endorsing.questions import Answer
from cloister.errors import CloisterError, ConfigError
from cloister.tee.snp.layout import MEDIA_TYPE, PRODUCTS, Product, Report
from cloister.tee.snp.verifier import SnpVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd, SimulatedChip
from cloister.testing.vault import http_answer
from endorsing_bench import NOW, Bench
from evidence_samples import folder, load

MAKERS = {product: SimulatedAmd(b"seed", product, now=NOW) for product in PRODUCTS}


def wish(chip: SimulatedChip, *, product: str = "", **changes: Any) -> AmdWish:
    """What a report of a chip asks for."""
    return AmdWish.of(Report.from_bytes(chip.report(**changes)), product=product)


def code(chip: SimulatedChip, *, product: str = "", **changes: Any) -> str:
    """The code with which nothing is asked."""
    with pytest.raises(ConfigError) as e:
        wish(chip, product=product, **changes)
    return e.value.code


@pytest.mark.spec("ES-15", "ES-16")
@pytest.mark.parametrize("product", PRODUCTS)
def test_what_is_fetched_vouches_for_the_report(bench: Bench, product: Product) -> None:
    """Of each product, in its own layout of versions."""
    amd = MAKERS[product]
    chip = amd.chip(tcb={"snp": 7, "microcode": 200})
    bench.endorsers.amd(amd, chip)
    items = wish(chip).collect(bench.asking().answer)
    evidence = Evidence(MEDIA_TYPE, chip.report())
    given = [item.endorsement for item in items]
    claims = SnpVerifier([amd.anchor]).verify(evidence, given, at=NOW)
    assert claims.vendor["revocation_checked"] is True
    assert [item.source.startswith("https://localhost:") for item in items] == [True] * 3


@pytest.mark.spec("ES-3")
def test_a_report_that_is_silent_takes_a_word() -> None:
    """No product is guessed, and none is overruled."""
    chip = MAKERS["Milan"].chip()
    assert code(chip, version=2) == "config.missing"
    assert wish(chip, version=2, product="milan").product == "Milan"
    assert code(chip, version=2, product="Venice") == "config.value"
    assert code(chip, product="Genoa") == "config.value"
    assert code(chip, cpuid=b"\x1b\x00\x00") == "config.value"
    assert wish(MAKERS["Genoa"].chip(), cpuid=b"\x19\xa0\x02").product == "Genoa"
    with pytest.raises(ConfigError):
        AmdWish.of_product("")


@pytest.mark.spec("ES-16")
def test_what_amd_cannot_be_asked(bench: Bench) -> None:
    """A hidden chip; a provider's key, of which there are chain and list; no key at all."""
    amd = MAKERS["Milan"]
    assert code(amd.chip(), chip_id=bytes(64)) == "config.missing"
    assert code(amd.chip(), key_info=7 << 2) == "config.value"
    provider = amd.chip(kind="VLEK")
    bench.endorsers.amd(amd, provider)
    assert len(wish(provider).collect(bench.asking().answer)) == 2
    assert bench.endorsers.targets() == ["/amd/vlek/v1/Milan/cert_chain", "/amd/vlek/v1/Milan/crl"]


@pytest.mark.spec("ES-10", "ES-16")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_anothers_answer_is_none(bench: Bench, number: int) -> None:
    """Of another product, chip, version or key, in each place."""
    milan, genoa = MAKERS["Milan"], MAKERS["Genoa"]
    chip = milan.chip()
    question = wish(chip).questions()[number]
    others = [
        [genoa.chain(), milan.chain("VLEK"), milan.chain() * 2, b"x"],
        [genoa.revocations(), b"0\x82", b""],
        [
            milan.chip("other").certificate,
            milan.chip(tcb={"snp": 99}).certificate,
            milan.chip(product_name="Genoa").certificate,
            milan.chip(kind="VLEK").certificate,
            milan.chip(common_name="SEV-VLEK").certificate,
            genoa.chip().certificate,
            milan.root,
        ],
    ][number]
    for body in others:
        bench.endorsers.shelf["/amd" + question.target] = http(body)
        with pytest.raises(CloisterError) as e:
            bench.asking().answer(question)
        assert e.value.code == "endorsement.source"
    bench.endorsers.amd(milan, chip)
    bench.asking().answer(question)


@pytest.mark.spec("ES-12")
def test_an_old_list_is_no_answer(bench: Bench) -> None:
    """Whoever gives it."""
    amd = MAKERS["Milan"]
    old = amd.revocations(validity=(NOW - 9 * 86400, NOW - 86400))
    bench.endorsers.shelf["/amd/vcek/v1/Milan/crl"] = http(old)
    with pytest.raises(CloisterError) as e:
        bench.asking().answer(wish(amd.chip()).questions()[1])
    assert e.value.code == "endorsement.stale"


def http(body: bytes) -> bytes:
    """An answer with that body."""
    return http_answer(200, body)


@pytest.mark.spec("ES-16")
def test_genuine_certificates_answer_their_own_report_only() -> None:
    """AMD's certificates of real chips, where they are here."""
    base, judged = folder("snp"), 0
    certificates: dict[str, bytes] = {}
    wishes: dict[str, AmdWish] = {}
    for path in sorted(base.glob("*/vcek.der")):
        report = Report.from_bytes((path.parent / "report.bin").read_bytes())
        product = load(path.parent / "sample.json")["product"]
        certificates[path.parent.name] = path.read_bytes()
        wishes[path.parent.name] = AmdWish.of(report, product=product)
    for name, each in wishes.items():
        question = each.questions()[-1]
        for other, body in certificates.items():
            answer = _answer(body)
            if other == name:
                question.judge(answer)
                judged += 1
            elif body != certificates[name]:
                with pytest.raises(CloisterError):
                    question.judge(answer)
    assert judged == len(wishes) > 3
    lists = {"Milan": "milan", "Genoa": "genoa"}
    for product, name in lists.items():
        chain, listed = AmdWish.of_product(product).questions()
        chain.judge(_answer((base / "_amd" / f"{name}_vcek_ask_ark.pem").read_bytes()))
        listed.judge(_answer((base / "_amd" / f"{name}.crl.der").read_bytes()))


def _answer(body: bytes) -> Answer:
    return Answer("", NOW, (), body)
