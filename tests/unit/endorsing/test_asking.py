"""Asking sources that are honest, busy, away, slow, lying, endless or old."""

from __future__ import annotations

import email.utils
import json
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloister.endorsing.asking import Asking, Patience, retry_after_s
from cloister.errors import CloisterError, UnavailableError
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.vault import VaultAuthority, http_answer
from endorsing_bench import INTEL, NOW, WISH, Bench

TCB, QE, PCK_LIST, ROOT_LIST = WISH.questions()
DAY = 86400


def code_of(asking: Asking) -> str:
    """The code with which nothing is had."""
    with pytest.raises(CloisterError) as e:
        asking.answer(TCB)
    return e.value.code


@pytest.mark.spec("ES-1", "ES-4")
def test_a_request_is_what_the_manufacturer_documents(bench: Bench) -> None:
    """On a connection of its own, with no more than it takes."""
    for question in WISH.questions():
        bench.asking().answer(question)
    assert bench.endorsers.targets() == [
        "/intel/tdx/certification/v4/tcb?fmspc=00906ED50000",
        "/intel/tdx/certification/v4/qe/identity",
        "/intel/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "/root.der",
    ]
    assert {each.method for each in bench.endorsers.asked} == {"GET"}


@pytest.mark.spec("ES-6")
def test_what_counts_is_not_asked_again(bench: Bench) -> None:
    """By nobody who shares the cache, until it counts no more; files are their user's alone."""
    first = bench.asking().answer(TCB)
    bench.time.at += 28 * DAY
    assert bench.asking().answer(TCB) == first
    assert len(bench.endorsers.asked) == 1
    modes = {each.name[-5:]: each.stat().st_mode & 0o777 for each in bench.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert bench.folder.stat().st_mode & 0o777 == 0o700
    bench.time.at += 2 * DAY
    assert code_of(bench.asking()) == "endorsement.stale"  # the source has nothing newer
    bench.endorsers.intel(SimulatedIntel(b"seed", at=int(bench.time.at)).mint(IntelCase("tdx5")))
    assert bench.asking().answer(TCB).body != first.body


@pytest.mark.spec("ES-6")
def test_asking_anew_asks_once(bench: Bench) -> None:
    """What the cache had before does not count; what this process has asked since does."""
    bench.asking().answer(TCB)
    bench.time.at += 5
    asking = bench.asking(anew=True)
    assert asking.answer(TCB).at == NOW + 6
    asking.answer(TCB)
    assert len(bench.endorsers.asked) == 2


@pytest.mark.spec("ES-6")
def test_an_answer_from_later_is_asked_again(bench: Bench) -> None:
    """The clock was set back: when the answer came is not known."""
    bench.asking().answer(TCB)
    bench.time.at -= 60
    bench.asking().answer(TCB)
    assert len(bench.endorsers.asked) == 2


@pytest.mark.spec("ES-7")
def test_who_asks_the_same_at_the_same_time_gets_one_answer(bench: Bench) -> None:
    """Twenty threads, half of them with nothing in common but the cache, as processes have."""
    bench.endorsers.hold = threading.Event()
    shared = bench.asking(real=True)
    askers = [shared if number % 2 else bench.asking(real=True) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        flights = [pool.submit(each.answer, TCB) for each in askers]
        while not bench.endorsers.asked:
            time.sleep(0.01)
        time.sleep(0.1)  # the others arrive meanwhile, or have the cache's: one request either way
        bench.endorsers.hold.set()
        answers = [each.result(timeout=20) for each in flights]
    assert len(set(answers)) == 1
    assert len(bench.endorsers.asked) == 1


@pytest.mark.spec("ES-7")
def test_a_failure_is_shared_too(bench: Bench) -> None:
    """Twenty threads that wait for one flight do not become twenty requests."""
    bench.endorsers.hold = threading.Event()
    bench.endorsers.shelf.clear()
    asking = bench.asking(real=True)
    with ThreadPoolExecutor(20) as pool:
        flights = [pool.submit(asking.answer, TCB) for _ in range(20)]
        while not bench.endorsers.asked:
            time.sleep(0.01)
        time.sleep(0.2)
        bench.endorsers.hold.set()
        codes = {getattr(each.exception(timeout=20), "code", "") for each in flights}
    assert codes == {"endorsement.source"}
    assert len(bench.endorsers.asked) < 20


@pytest.mark.spec("ES-8")
def test_a_busy_source_is_left_alone_for_as_long_as_it_says(bench: Bench) -> None:
    """By whoever shares the cache, and for other questions too."""
    busy = http_answer(429, b"", "Retry-After: 10")
    bench.endorsers.faults = [busy]
    bench.asking().answer(TCB)
    assert (bench.time.slept, len(bench.endorsers.asked)) == ([10.0, 1], 2)
    bench.time.slept.clear()
    bench.endorsers.faults = [busy]
    assert code_of(bench.asking(anew=True, patience=Patience(total_s=5))) == "server.busy"
    assert bench.time.slept == []
    bench.asking().answer(QE)
    assert bench.time.slept == [11]


@pytest.mark.spec("ES-8")
def test_a_source_that_wants_too_much_patience_is_an_error(bench: Bench) -> None:
    """At once, with what it said as the hint."""
    bench.endorsers.faults = [http_answer(503, b"", "Retry-After: 900")]
    with pytest.raises(UnavailableError) as e:
        bench.asking().answer(TCB)
    assert (e.value.code, e.value.hint, bench.time.slept) == (
        "server.busy",
        "try again in 900 s",
        [],
    )


@pytest.mark.spec("ES-8")
def test_retry_after_has_two_forms() -> None:
    """Anything else is none; a huge number is not waited for."""
    date = email.utils.formatdate(NOW + 30, usegmt=True)
    forms = {"7": 7, date: 30, "": 0, "soon": 0, "-1": 0, "1.5": 0, "\u0667": 0, "0": 0}
    assert {text: retry_after_s(text, now=NOW) for text in forms} == forms
    assert retry_after_s(email.utils.formatdate(NOW - 30), now=NOW) == 0
    assert retry_after_s("9" * 5000, now=NOW) == 999_999_999


def cut(connection: ssl.SSLSocket) -> None:
    """Close in the middle of an answer."""
    connection.sendall(http_answer(200, b'{"tcbInfo"', length=5000))


def gone(connection: ssl.SSLSocket) -> None:
    """Close without a word."""


@pytest.mark.spec("ES-9")
@pytest.mark.parametrize(
    "fault", [http_answer(500, b"x"), http_answer(502, b""), http_answer(504, b""), cut, gone]
)
def test_a_source_that_fails_is_asked_again_less_and_less_often(
    bench: Bench, fault: bytes | Callable[[ssl.SSLSocket], None]
) -> None:
    """Twice as long each time, and not for ever."""
    bench.endorsers.faults = [fault] * 3
    bench.asking().answer(TCB)
    assert bench.time.slept == [1.0, 2.0, 4.0]
    bench.endorsers.faults = [fault] * 100
    assert code_of(bench.asking(anew=True)) == "server.unreachable"
    assert bench.time.slept[3:] == [1.0, 2.0, 4.0, 8.0, 16.0]
    bench.endorsers.faults = [fault] * 100
    assert code_of(bench.asking(anew=True, patience=Patience(total_s=5))) == "server.unreachable"
    assert sum(bench.time.slept[8:]) < 5


def test_pauses_are_random_down_to_half() -> None:
    """Those who failed together do not come back together."""
    patience = Patience()
    assert [patience.pause_s(3, chance) for chance in (0.0, 0.5, 1.0)] == [2.0, 3.0, 4.0]
    assert patience.pause_s(60, 1.0) == patience.longest_s


@pytest.mark.spec("ES-10")
@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410])
def test_asking_again_does_not_help(bench: Bench, status: int) -> None:
    """One request; no redirection is followed."""
    bench.endorsers.faults = [http_answer(status, b"", f"Location: {bench.endorsers.sources[1]}")]
    assert code_of(bench.asking()) == "endorsement.source"
    assert (len(bench.endorsers.asked), bench.time.slept) == (1, [])


def other_model() -> bytes:
    """TCB info of another platform model."""
    minted = INTEL.mint(IntelCase("tdx5", fmspc=bytes(6)))
    said = {"tcbInfo": json.loads(minted.bundle["tcb_info"]), "signature": "00" * 64}
    return json.dumps(said).encode()


@pytest.mark.spec("ES-10")
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b"[" * 100_000, b'{"tcbInfo":{},"signature":"00"}', other_model()],
)
def test_another_answer_is_none_and_is_not_kept(bench: Bench, body: bytes) -> None:
    """Whatever it is; the next one who asks gets the right one."""
    chain = "TCB-Info-Issuer-Chain: %2D"
    bench.endorsers.faults = [http_answer(200, body, chain)]
    assert code_of(bench.asking()) == "endorsement.source"
    assert [each for each in bench.folder.iterdir() if each.suffix == ".entry"] == []
    bench.asking().answer(TCB)


@pytest.mark.spec("ES-10")
def test_an_answer_without_its_header_is_none(bench: Bench) -> None:
    """Who signed stands there."""
    answer = bench.asking().answer(TCB)
    bench.endorsers.faults = [http_answer(200, answer.body)]
    assert code_of(bench.asking(anew=True)) == "endorsement.source"


def endless(connection: ssl.SSLSocket) -> None:
    """Say nothing of a length, and never stop."""
    connection.sendall(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


@pytest.mark.spec("ES-11")
@pytest.mark.parametrize(
    "fault",
    [
        endless,
        http_answer(200, b"x", length=1 << 40),
        http_answer(200, bytes(3 << 20)),
        b"HTTP/1.1 200 X\r\nX: " + bytes(100_000),
        b"220 smtp.example\r\n\r\n",
    ],
)
def test_what_is_too_long_or_no_http_is_refused(
    bench: Bench, fault: bytes | Callable[[ssl.SSLSocket], None]
) -> None:
    """Memory and time are bounded."""
    bench.endorsers.faults = [fault] * 100
    assert code_of(bench.asking()) in {"protocol.remote", "server.unreachable"}


@pytest.mark.spec("ES-11")
def test_a_slow_source_is_not_waited_for(bench: Bench) -> None:
    """A byte at a time does not help it."""

    def drip(connection: ssl.SSLSocket) -> None:
        for _ in range(200):
            connection.sendall(b"H")
            time.sleep(0.05)

    bench.endorsers.faults = [drip]
    began = time.monotonic()
    patience = Patience(request_s=0.3, attempts=1)
    assert code_of(bench.asking(patience=patience)) == "server.unreachable"
    assert time.monotonic() - began < 5


@pytest.mark.spec("ES-5")
def test_another_authority_gets_no_request(bench: Bench) -> None:
    """Neither one of this machine nor one that was not named."""
    for authorities in (None, VaultAuthority(at=NOW).pem):
        assert code_of(bench.asking(authorities=authorities)) == "identity.tls"
    assert bench.endorsers.asked == []


@pytest.mark.spec("ES-12")
def test_what_does_not_count_now_is_no_answer(bench: Bench) -> None:
    """Old, or from later; nothing of it is kept."""
    for window in ((NOW - 40 * DAY, NOW - 10 * DAY), (NOW + DAY, NOW + 30 * DAY)):
        bench.endorsers.intel(INTEL.mint(IntelCase("tdx5", windows={"tcb_info": window})))
        assert code_of(bench.asking()) == "endorsement.stale"
    assert [each for each in bench.folder.iterdir() if each.suffix == ".entry"] == []


@pytest.mark.spec("ES-23")
def test_a_changed_entry_is_asked_again(bench: Bench) -> None:
    """Bits, cuts, nothing, and another question's entry in its place."""
    answer = bench.asking().answer(TCB)
    (entry,) = (each for each in bench.folder.iterdir() if each.suffix == ".entry")
    good = entry.read_bytes()
    bench.asking().answer(QE)
    (other,) = (
        each for each in bench.folder.iterdir() if each.suffix == ".entry" and each != entry
    )
    flipped = [
        good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 797)
    ]
    for bad in [*flipped, good[:-1], good[: len(good) // 2], b"", other.read_bytes()]:
        before = len(bench.endorsers.asked)
        entry.write_bytes(bad)
        assert bench.asking().answer(TCB).body == answer.body
        assert len(bench.endorsers.asked) == before + 1


@pytest.mark.spec("ES-23")
def test_an_entry_is_judged_like_an_answer(bench: Bench) -> None:
    """Whoever can write to the cache can put whole entries there."""
    asking = bench.asking()
    answer = asking.answer(TCB)
    (entry,) = (each for each in bench.folder.iterdir() if each.suffix == ".entry")
    elsewhere = replace(answer, url="https://elsewhere.example/x")
    for number, planted in enumerate((replace(answer, body=other_model()), elsewhere), 2):
        asking._cache.write(entry.stem, planted)
        assert bench.asking().answer(TCB) == answer
        assert len(bench.endorsers.asked) == number


@pytest.mark.spec("ES-6")
def test_offline_only_the_cache_counts(bench: Bench) -> None:
    """Nobody is asked; a source that is gone is not missed."""
    asking = bench.asking(offline=True)
    assert code_of(asking) == "endorsement.missing"
    assert bench.endorsers.asked == []
    bench.asking().answer(TCB)
    asking.answer(TCB)
    assert len(bench.endorsers.asked) == 1
