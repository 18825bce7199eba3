"""What NVIDIA is asked about a GPU: manifests by name, and the status of each certificate."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from cloister.attestation.evidence import Evidence
from cloister.crypto.chain import Certificate, read_pem_chain
from cloister.endorsing.nvidia import NvidiaWish, WantedRim, ocsp_question, wanted_rims
from cloister.endorsing.wishes import wish_of
from cloister.errors import CloisterError, ConfigError
from cloister.tee.nvidia.layout import REPORT_MEDIA_TYPE, GpuReport
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.testing.endorsers import BOARD
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.vault import http_answer
from endorsing_bench import NOW, Bench
from evidence_samples import folder

MAKER = SimulatedNvidia("seed", at=NOW)
GPU = MAKER.gpu("HOPPER")
NONCE = bytes(range(32))
REPORT = GPU.report(NONCE, board=BOARD)
EVIDENCE = Evidence(REPORT_MEDIA_TYPE, REPORT.to_bytes())
DRIVER = "/v1/rim/NV_GPU_DRIVER_GH100_590.48.01"


def wish() -> NvidiaWish:
    """For the GPU above."""
    found = wish_of(EVIDENCE, "nvidia", product="", endorsements=[GPU.chain])
    assert isinstance(found, NvidiaWish)
    return found


@pytest.mark.spec("ES-17", "ES-18", "ES-19")
def test_what_is_fetched_vouches_for_the_report(bench: Bench) -> None:
    """Both manifests, and that nothing above the GPU's own key is revoked."""
    bench.endorsers.nvidia(MAKER, GPU)
    items = wish().collect(bench.asking().answer)
    given = [GPU.chain, *(item.endorsement for item in items)]
    claims = NvidiaVerifier(MAKER.anchors).verify(EVIDENCE, given, at=NOW)
    assert (claims.vendor["measres"], claims.vendor["revocation"]) == ("success", "good")
    posted = [each for each in bench.endorsers.asked if each.method == "POST"]
    assert bench.endorsers.targets()[0] == DRIVER
    assert {each.headers["content-type"] for each in posted} == {"application/ocsp-request"}
    assert len({each.body for each in posted}) == len(posted) == len(items) - 2
    # The root of devices and the GPU's own leaf are nobody's to revoke; the rest is asked once.
    assert len(posted) == len(GPU.device.path[1:-1]) + 2


@pytest.mark.spec("ES-6", "ES-19")
def test_an_answer_about_a_certificate_is_kept(bench: Bench) -> None:
    """For the next one who asks, with another nonce."""
    bench.endorsers.nvidia(MAKER, GPU)
    wish().collect(bench.asking().answer)
    before = len(bench.endorsers.asked)
    wish().collect(bench.asking(offline=True).answer)
    assert len(bench.endorsers.asked) == before


@pytest.mark.spec("ES-17")
def test_manifests_are_named_after_the_report() -> None:
    """As NVIDIA names them; a report without its board names none."""
    leaf = GPU.device.path[0]
    assert [each.id for each in wanted_rims(REPORT, leaf)] == [
        "NV_GPU_DRIVER_GH100_590.48.01",
        "NV_GPU_VBIOS_1010_0200_882_96009F0001",
    ]
    with pytest.raises(CloisterError) as e:
        wanted_rims(GPU.report(NONCE), leaf)
    assert e.value.code == "evidence.malformed"
    with pytest.raises(CloisterError):
        wanted_rims(REPORT, GPU.device.path[-1])
    for board in (("", "0", "0"), ("a/b", "0", "0"), ("..", "0", "0"), ("A" * 9, "0", "0")):
        with pytest.raises(CloisterError):
            wanted_rims(GPU.report(NONCE, board=board), leaf)


@pytest.mark.spec("ES-17")
@pytest.mark.parametrize("name", ["", "x", "NV_", "NV_a/b", "NV_a?b", "NV_" + "x" * 200, "NV_\n"])
def test_a_name_goes_into_an_address(name: str) -> None:
    """And nothing else of it does."""
    with pytest.raises(ConfigError):
        WantedRim(name)


@pytest.mark.spec("ES-17")
def test_genuine_reports_name_manifests_that_exist() -> None:
    """NVIDIA's own report, where it is here; the driver's and the VBIOS' names are published."""
    base = folder("nvidia") / "hopper-550-90-07"
    report = GpuReport.from_bytes((base / "report.bin").read_bytes())
    leaf = read_pem_chain((base / "cert_chain.pem").read_bytes())[0]
    assert [each.id for each in wanted_rims(report, leaf)] == [
        "NV_GPU_DRIVER_GH100_550.90.07",
        "NV_GPU_VBIOS_1010_0200_882_96009F0001",
    ]


def code_of(bench: Bench) -> str:
    """The code with which nothing is had."""
    with pytest.raises(CloisterError) as e:
        wish().collect(bench.asking().answer)
    return e.value.code


@pytest.mark.spec("ES-18")
def test_another_manifest_is_none(bench: Bench) -> None:
    """By its name, by its version, or in a form that cannot be read."""
    bench.endorsers.nvidia(MAKER, GPU)
    name = DRIVER.rpartition("/")[2]
    driver = MAKER.rim_content(GPU, "driver")
    good, other = MAKER.rim(driver).body, MAKER.rim(replace(driver, version="1.2.3")).body
    for said in (
        {"id": name, "rim": base64.b64encode(other).decode()},
        {"id": name + "x", "rim": base64.b64encode(good).decode()},
        {"id": name, "rim": "*"},
        {"id": name, "rim": base64.b64encode(b"<x/>").decode()},
        {"id": name},
        [],
    ):
        bench.endorsers.shelf[DRIVER] = http_answer(200, json.dumps(said).encode())
        assert code_of(bench) == "endorsement.source"
    assert {each.method for each in bench.endorsers.asked} == {"GET"}


@pytest.mark.spec("ES-19")
def test_a_status_is_for_this_request(bench: Bench) -> None:
    """Not for another certificate, not with another nonce, not without one."""
    bench.endorsers.nvidia(MAKER, GPU)
    pairs = list(zip(GPU.device.path[1:], GPU.device.path[2:], strict=False))
    question, other = (ocsp_question(*pair) for pair in pairs[:2])
    assert question.post is not None
    assert other.post is not None
    earlier = MAKER.ocsp_answer(GPU, ocsp_question(*pairs[0]).post.body)  # type: ignore[union-attr]  # it posts
    about_other = MAKER.ocsp_answer(GPU, other.post.body)
    silent = MAKER.ocsp_responses(GPU)[0].body
    for body in (earlier, about_other, silent, b"", b"0\x03\x0a\x01\x06"):
        bench.endorsers.faults = [http_answer(200, body or b"")]
        with pytest.raises(CloisterError) as e:
            bench.asking().answer(question)
        assert e.value.code == "endorsement.source"
    bench.asking().answer(question)


@pytest.mark.spec("ES-12")
def test_an_old_status_is_no_answer(bench: Bench) -> None:
    """With the right nonce too."""
    question = ocsp_question(*GPU.device.path[1:3])
    assert question.post is not None
    old = MAKER.ocsp_answer(GPU, question.post.body, validity=(NOW - 99, NOW - 9))
    bench.endorsers.faults = [http_answer(200, old or b"")]
    with pytest.raises(CloisterError) as e:
        bench.asking().answer(question)
    assert e.value.code == "endorsement.stale"


def test_a_device_is_asked_about_by_certificates_that_parse() -> None:
    """What a wish holds is bytes; they become certificates when it is collected."""
    assert all(Certificate.from_der(der) for path in wish().paths for der in path)
