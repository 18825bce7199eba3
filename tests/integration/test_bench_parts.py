"""What benchmarks measure with: relay, vendor, the soak's judgement, and the table's rows."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cloister.attestation.evidence import ReportData
from cloister.crypto.signature import SigningKey
from cloister.errors import EvidenceError
from cloister.keyservice.clock import Moment
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform

TESTS = Path(__file__).parents[1]
BENCHMARKS = TESTS.parent / "benchmarks"


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets, and ends when its client does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _round_trip(connection: socket.socket) -> float:
    began = time.monotonic()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return time.monotonic() - began


def test_the_relay_delays_each_direction_and_a_connections_beginning(
    load: Any, echo: tuple[str, int]
) -> None:
    """The first exchange takes two round trips, the next one; never less."""
    one_way_s = 0.05
    with (
        load("relay").Relay(echo, one_way_s=one_way_s) as relay,
        socket.create_connection(relay.address, timeout=20) as connection,
    ):
        first, second = _round_trip(connection), _round_trip(connection)
    assert first >= 4 * one_way_s * 0.95
    assert second >= 2 * one_way_s
    assert second < first


def test_the_relay_delivers_everything_in_order_and_the_end(
    load: Any, echo: tuple[str, int]
) -> None:
    """A MiB in many pieces comes back as it was, and then the end of the connection."""
    sent = os.urandom(1 << 20)
    with (
        load("relay").Relay(echo, one_way_s=0.002) as relay,
        socket.create_connection(relay.address, timeout=20) as connection,
    ):

        def send() -> None:
            for start in range(0, len(sent), 7001):
                connection.sendall(sent[start : start + 7001])
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        received = bytearray()
        while data := connection.recv(65536):
            received += data
    assert bytes(received) == sent


def test_what_is_under_way_does_not_wait_for_what_is_before_it(
    load: Any, echo: tuple[str, int]
) -> None:
    """Ten messages sent at once take one round trip together, not ten."""
    one_way_s = 0.1
    with (
        load("relay").Relay(echo, one_way_s=one_way_s) as relay,
        socket.create_connection(relay.address, timeout=20) as connection,
    ):
        _round_trip(connection)
        began = time.monotonic()
        for _ in range(10):
            connection.sendall(b"y")
            time.sleep(0.001)
        left = 10
        while left:
            left -= len(connection.recv(left))
        assert time.monotonic() - began < 10 * one_way_s


def test_the_vendor_vouches_for_its_platforms_only(load: Any, tmp_path: Path) -> None:
    """Genuine evidence gets a signed verdict; another vendor's key does not verify it."""
    vendor = load("vendor")
    platform = SimPlatform.create(tmp_path / "p", svn=1, debug=False)
    other = SimPlatform.create(tmp_path / "q", svn=1, debug=False)
    data = ReportData(b"r" * 64)
    with vendor.Vendor([platform.anchor]) as running:
        address = running.server_address
        evidence = SimAttester(platform, image=b"i" * 32).collect(data)
        vendor.ask(address, evidence, vendor=running.key.public)
        with pytest.raises(EvidenceError):
            vendor.ask(address, evidence, vendor=SigningKey.generate().public)
        foreign = SimAttester(other, image=b"i" * 32).collect(data)
        with pytest.raises((EOFError, ConnectionError)):
            vendor.ask(address, foreign, vendor=running.key.public)


def test_a_line_is_fitted_by_least_squares(load: Any) -> None:
    """Exactly through points on a line, between points around it, and flat over one place."""
    fit = load("hour").fit
    line = fit([(x, 3.0 + 0.5 * x) for x in range(10)])
    assert (line.start, line.slope) == (pytest.approx(3.0), pytest.approx(0.5))
    around = fit([(0, 1.0), (0, -1.0), (10, 6.0), (10, 4.0)])
    assert (around.start, around.slope) == (pytest.approx(0.0), pytest.approx(0.5))
    assert fit([(5, 1.0), (5, 2.0)]).slope == 0
    with pytest.raises(ValueError, match="no points"):
        fit([])


def _samples(hour: ModuleType, growth: float, *, descriptors: int = 0) -> list[Any]:
    """A service that warms up by 10 MiB and then grows by so many KiB a release."""
    return [
        hour.Sample(
            at_s=n,
            releases=n * 10,
            rss_kib=0,
            anonymous_kib=int(1000 * min(n, 10) + growth * 10 * n),
            descriptors=20 + (descriptors if n > 50 else 0),
            state_bytes=n * 5000,
        )
        for n in range(100)
    ]


def test_growth_after_the_warm_up_is_judged_and_not_before(load: Any) -> None:
    """10 MiB while warming up are fine; a KiB for each release after it is not."""
    hour = load("hour")
    flat = hour.judge(_samples(hour, 0.0))
    assert flat.kib_per_1000 == pytest.approx(0.0, abs=1e-6)
    assert flat.state_bytes_each == pytest.approx(500.0)
    assert flat.is_flat(hour.MOST_KIB)
    leaking = hour.judge(_samples(hour, 1.0))
    assert leaking.kib_per_1000 == pytest.approx(1000.0)
    assert not leaking.is_flat(hour.MOST_KIB)


def test_more_descriptors_are_growth(load: Any) -> None:
    """Five more than while warming up."""
    hour = load("hour")
    more = hour.judge(_samples(hour, 0.0, descriptors=hour.MOST_DESCRIPTORS + 1))
    assert not more.is_flat(hour.MOST_KIB)
    assert hour.judge(_samples(hour, 0.0, descriptors=hour.MOST_DESCRIPTORS)).is_flat(1)


def test_the_hastened_clock_goes_faster_by_both_clocks(load: Any) -> None:
    """An hour's seconds pass in a sixtieth of them."""
    now = time.monotonic()
    clock = load("hour_server").hastened(start_at=1000.0, start_uptime=now - 2, times=60.0)
    moment = clock()
    assert isinstance(moment, Moment)
    assert 1120 <= moment.at < 1120 + 60 * 20
    assert moment.uptime - (now - 2) == pytest.approx(moment.at - 1000, abs=1)


def test_aims_stand_where_they_were_set(load: Any) -> None:
    """5 ms with one client, 250 a second with 16; judged, and nowhere else."""
    releases = load("releases")
    facts = {"benchmark": "key_release.release", "p50_ms": 4.9, "p99_ms": 9.0}
    facts |= {"client_cpu_ms": 1.0, "service_cpu_ms": 2.0}
    one = releases.throughput_row(facts | {"clients": 1, "per_second": 190.0})
    many = releases.throughput_row(facts | {"clients": 16, "per_second": 249.9})
    most = releases.throughput_row(facts | {"clients": 128, "per_second": 260.0})
    assert (one.met, many.met, most.met) == (True, False, None)
    assert releases.throughput_row(facts | {"clients": 1, "per_second": 1, "p50_ms": 5.0}).met is (
        False
    )


def test_a_path_is_shown_as_a_multiple(load: Any) -> None:
    """With the papers' figures beside the one that they measured."""
    releases = load("releases")
    facts = {"p50_ms": 280.0, "p99_ms": 300.0, "round_trip_ms": 93.0, "times_beside": 35.0}
    row = releases.path_row(facts | {"path": "far-vendor"})
    assert row.result == "35.00 times beside"
    assert "19 times" in row.left
    assert "93 ms" in row.name
    assert releases.path_row(facts | {"path": "far-service"}).left == ""


@pytest.mark.jobs
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_quick_hour_is_flat_and_does_everything(load: Any, tmp_path: Path) -> None:
    """20 s of the soak: every kind of operation, samples of a live service, and no steep growth.

    `make soak` lets the hour pass in three minutes and is stricter.
    """
    pytest.importorskip("matplotlib")
    hour = load("hour")
    command = [sys.executable, str(BENCHMARKS / "hour.py"), "--seconds", "20"]
    command += ["--releases-an-hour", "1500", "--most-kib", "2048", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert set(facts["operations"]) == {
        "new-member",
        "release",
        "renewal",
        "other-program",
        "lease",
        "replay",
        "log-page",
    }
    record = json.loads((tmp_path / "soak.json").read_text())
    samples = [hour.Sample(**sample) for sample in record["samples"]]
    assert len(samples) >= 10
    assert samples[-1].releases > samples[0].releases
    assert samples[-1].state_bytes > samples[0].state_bytes
    assert all(sample.rss_kib >= sample.anonymous_kib > 10000 for sample in samples)
    assert all(sample.descriptors > 5 for sample in samples)
    assert dataclasses.asdict(samples[0]) == record["samples"][0]
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_each_kind_of_evidence_gets_a_verdict_and_a_row(load: Any) -> None:
    """All of them are accepted, in one process; aims are judged where there are some."""
    verdicts = load("verdicts")
    rows = list(verdicts.rows(rounds=1))
    kinds = {row.facts["kind"].partition("-v")[0] for row in rows[:-1]}
    assert kinds >= {
        *("sgx", "tdx", "snp", "tpm-certified", "tpm-pinned", "azure-snp", "azure-tdx"),
        *("nvidia", "nitro", "cca", "sim"),
    }
    assert {row.facts["kind"] for row in rows if row.aim} == {
        row.facts["kind"] for row in rows[:-1] if row.facts["kind"][:3] in {"sgx", "tdx", "snp"}
    }
    assert all(isinstance(row.met, bool) for row in rows if row.aim)
    assert rows[-1].facts["peak_kib"] > 1000
    second = importlib.util.find_spec("dcap_qvl") is not None
    assert {row.facts["kind"] for row in rows if row.left} == (
        {"sgx-v3", "tdx-v4", "tdx-v5"} if second else set()
    )


def test_a_cell_takes_turns_with_a_native_process(load: Any) -> None:
    """Both do the same steps and learn the same; every number has a row, and aims are judged."""
    cells = load("cleanroom_cells")
    rows = list(cells.of_framework("numpy", rounds=1, steps=2, forks=1))
    if rows[0].facts.get("left_out"):
        pytest.skip(rows[0].result)
    reset, first, steps, memory, reserved = rows
    assert steps.facts["equal_losses"] is True
    assert isinstance(steps.met, bool)
    assert isinstance(first.met, bool)
    assert reset.facts["cold_s"] > reset.facts["reset_s"]["median"] > 0
    assert reserved.facts["reset_s"]["median"] > reset.facts["reset_s"]["median"]
    assert memory.facts["worked_resident_mib"] > memory.facts["cell_resident_mib"] > 10
    private = memory.facts["cell_private_mib"]
    assert private is None or private < memory.facts["parent_resident_mib"]


def test_what_is_not_installed_is_a_row_that_says_so(load: Any, monkeypatch: Any) -> None:
    """And nothing is measured."""
    cells = load("cleanroom_cells")
    monkeypatch.setattr(cells, "MODULES", {"torch": ("no_such_framework",)})
    (row,) = cells.rows(rounds=1, steps=1, forks=1)
    assert row.facts == {"left_out": "not installed"}
    assert row.met is None


def test_what_benchmarks_take_from_the_tests_is_there() -> None:
    """Also what they import in a function, which only a run of minutes would miss."""
    ours = {path.stem for path in TESTS.iterdir() if path.is_dir() or path.suffix == ".py"}
    found = 0
    for path in BENCHMARKS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module.partition(".")[0] in ours:
                module = importlib.import_module(node.module)
                missing = [each.name for each in node.names if not hasattr(module, each.name)]
                assert missing == [], f"{path.name}: {node.module} has no {missing}"
                found += 1
    assert found


@pytest.mark.jobs
def test_a_room_with_one_trainer_has_a_row(load: Any) -> None:
    """A real one: its steps were timed where they happened, and its processor time was counted."""
    pytest.importorskip("torch")
    room = load("cleanroom_room")
    (row,) = room.rows(trainers=(1,), rounds=2, steps=1, prepare_s=20, round_s=2)
    assert row.facts["step_s"]["count"] == 2
    assert row.facts["added"] >= 1
    assert row.facts["trainers_processor_s"] > row.facts["step_s"]["min"]
    assert row.facts["server_processor_s"] > 0


@pytest.mark.jobs
def test_a_room_that_is_too_slow_is_a_row(load: Any) -> None:
    """Nobody can be ready within a second: that is said, and nothing fails."""
    pytest.importorskip("torch")
    room = load("cleanroom_room")
    (row,) = room.rows(trainers=(1,), rounds=1, steps=1, prepare_s=1, round_s=1)
    assert row.facts["late"] is True
    assert row.met is None


@pytest.mark.jobs
def test_private_queries_are_compared_with_direct_tls(load: Any) -> None:
    """Two batches and a throughput, each with both sides."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    rows = list(load("private_queries").rows(rounds=2, seconds=0.1))
    assert len(rows) == 3
    assert all(row.left and row.right for row in rows)
    assert rows[2].facts["sealed_per_s"]["count"] == 3
