"""The asking side: pinning, retries and deadlines."""

import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from cloister.errors import CloisterError, IdentityError, UnavailableError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.testing.keyservice import MEASUREMENT, ServiceBench


class Flaky:
    """A transport that fails a number of times before it works."""

    def __init__(
        self, bench: ServiceBench, failures: int, codes: Sequence[str] = ("keyservice.unreachable",)
    ) -> None:
        """Fail `failures` times, with these codes in turn."""
        self.bench = bench
        self.failures = failures
        self.codes = codes

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Fail or forward."""
        if self.failures:
            self.failures -= 1
            code = self.codes[self.failures % len(self.codes)]
            raise UnavailableError("not now", code=code)
        return self.bench.post(path, body, timeout_s=timeout_s)


def owner(bench: ServiceBench, transport: object, deadline_s: float) -> OwnerClient:
    """An owner over some transport."""
    return OwnerClient(
        transport,
        bench.pinned,
        owner=bench.owner_key,
        reference=bench.domain.service,
        clock=bench.clock,
        deadline_s=deadline_s,
    )


@pytest.mark.spec("KR-8")
def test_what_may_pass_is_retried_until_the_deadline(bench: ServiceBench) -> None:
    """Three failures, then an answer."""
    assert owner(bench, Flaky(bench, 3), 5.0).status().volumes


@pytest.mark.spec("KR-8")
def test_the_deadline_ends_it(bench: ServiceBench) -> None:
    """The last reason is the one that is told."""
    with pytest.raises(UnavailableError) as e:
        owner(bench, Flaky(bench, 10**6), 0.1).status()
    assert e.value.code == "keyservice.unreachable"


class Slow:
    """A transport that fails as it is told; then answers come too late."""

    def __init__(self, codes: list[str]) -> None:
        """Fail with these codes first."""
        self.codes = codes

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Fail."""
        del path, body
        if self.codes:
            raise UnavailableError("not now", code=self.codes.pop(0))
        time.sleep(timeout_s)
        raise UnavailableError("not in time", code="keyservice.slow")


@pytest.mark.spec("KR-8")
@pytest.mark.parametrize(
    ("codes", "told"),
    [([], "keyservice.slow"), (["keyservice.busy", "volume.leased"], "volume.leased")],
)
def test_an_attempt_that_the_deadline_cut_short_is_no_reason(
    bench: ServiceBench, codes: list[str], told: str
) -> None:
    """Where there was one before it."""
    with pytest.raises(UnavailableError) as e:
        owner(bench, Slow(codes), 0.3).status()
    assert e.value.code == told


@pytest.mark.spec("KR-8")
def test_one_that_is_slow_before_the_deadline_is_asked_again(bench: ServiceBench) -> None:
    """Though the time that is left is short: a kernel may give a connection up at once."""
    transport = Flaky(bench, 4, ["keyservice.busy", "keyservice.slow"])
    assert owner(bench, transport, 5.0).status().volumes


@pytest.mark.spec("KR-8")
def test_a_refusal_is_not_retried(bench: ServiceBench) -> None:
    """Trust does not come with patience."""
    client = ReleaseClient(bench, bench.pinned, clock=bench.clock, deadline_s=30.0)
    before = len(bench.requests)
    with pytest.raises(CloisterError):
        client.release(
            policy=b"?" * 32,
            workload="train",
            instance="i",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
    assert len(bench.requests) == before + 2


@pytest.mark.spec("KR-4")
@pytest.mark.parametrize("answer", [b"", b"<html>", b"\xa0", b"x" * 100])
def test_whoever_answers_with_other_bytes_is_not_the_service(
    bench: ServiceBench, answer: bytes
) -> None:
    """An unsigned answer is nobody's."""
    bench.tap = lambda *_: answer
    with pytest.raises(IdentityError) as e:
        bench.owner().status()
    assert e.value.code == "identity.keyservice"


@pytest.mark.spec("KR-4")
def test_another_key_service_is_refused(bench: ServiceBench, tmp_path: object) -> None:
    """Pinning is by public key, not by address."""
    other = ServiceBench.create(tmp_path, "other.test")
    client = OwnerClient(
        other,
        bench.pinned,
        owner=bench.owner_key,
        reference=bench.domain.service,
        clock=bench.clock,
        deadline_s=0.0,
    )
    with pytest.raises(IdentityError) as e:
        client.status()
    assert e.value.code == "identity.keyservice"
    other.close()


def test_another_log_name_is_refused(bench: ServiceBench) -> None:
    """Receipts are of the pinned log."""
    pinned = PinnedService(bench.domain.identity, "other.test/cloister-log")
    client = OwnerClient(
        bench,
        pinned,
        owner=bench.owner_key,
        reference=bench.domain.service,
        clock=bench.clock,
        deadline_s=0.0,
    )
    with pytest.raises(IdentityError) as e:
        client.status()
    assert e.value.code == "identity.keyservice"


def test_importing_the_client_stays_light() -> None:
    """Start-up time of every run: no server, no arrays, no terminal library, no database."""
    heavy = ["starlette", "uvicorn", "numpy", "rich", "pydantic", "sqlcipher3", "asyncio", "ssl"]
    code = (
        f"import sys, cloister.keyservice.client; print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "[]"
