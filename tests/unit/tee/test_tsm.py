"""Reports through configfs-tsm, from a kernel that behaves and from one that does not."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloister.attestation.evidence import ReportData
from cloister.errors import CloisterError, UnavailableError, UnsupportedError
from cloister.tee.tsm import TsmInterface, TsmReport
from cloister.testing.kernel import FakeTsm

ROOT = Path("/tsm/report")
DATA = ReportData(bytes(range(64)))


@dataclass
class Clock:
    """Time that passes by sleeping."""

    now: float = 0.0
    naps: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.naps.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        """Tell it."""
        return self.now


def kernel(**changes: object) -> FakeTsm:
    """A kernel of a TDX guest, with something changed."""
    made = FakeTsm(ROOT, "tdx_guest", make=lambda blob: b"quote" + blob)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def interface(files: FakeTsm, clock: Clock | None = None) -> TsmInterface:
    """Reach it."""
    time = Clock() if clock is None else clock
    return TsmInterface(root=ROOT, files=files, deadline_s=1.0, sleep=time.sleep, clock=time)


def test_a_report_is_over_what_was_asked_and_leaves_nothing() -> None:
    """The entry is gone afterwards."""
    files = kernel(auxblob=b"certificates")
    report = interface(files).collect(DATA, provider="tdx_guest")
    assert report == TsmReport("tdx_guest", b"quote" + DATA.value, b"certificates", b"")
    assert files.entries == {}
    assert interface(files).provider() == "tdx_guest"
    assert files.entries == {}


def test_options_are_written_and_counted() -> None:
    """Each raises the generation by one."""
    files = kernel()
    report = interface(files).collect(DATA, provider="tdx_guest", options={"privlevel": "1"})
    assert report.outblob == b"quote" + DATA.value


def test_a_large_report_comes_whole() -> None:
    """Newer quotes are larger than a page; too large is refused."""
    large = kernel(make=lambda _: b"q" * 500_000)
    assert len(interface(large).collect(DATA, provider="tdx_guest").outblob) == 500_000
    huge = kernel(make=lambda _: b"q" * (1 << 20) + b"q")
    with pytest.raises(UnavailableError) as e:
        interface(huge).collect(DATA, provider="tdx_guest")
    assert e.value.code == "attester.failed"


def test_a_busy_kernel_is_asked_again_with_a_new_entry() -> None:
    """Until the deadline."""
    clock = Clock()
    assert interface(kernel(busy=3), clock).collect(DATA, provider="tdx_guest")
    assert len(clock.naps) == 3
    files = kernel(busy=10_000)
    with pytest.raises(UnavailableError) as e:
        interface(files).collect(DATA, provider="tdx_guest")
    assert e.value.code == "attester.busy"
    assert files.entries == {}


@pytest.mark.parametrize("meddling", [1, -1, 7])
def test_a_generation_that_does_not_fit_is_refused(meddling: int) -> None:
    """The report may be over somebody else's data."""
    files = kernel(meddling=meddling)
    with pytest.raises(UnavailableError) as e:
        interface(files).collect(DATA, provider="tdx_guest")
    assert e.value.code == "attester.failed"
    assert files.entries == {}


def test_another_provider_is_refused() -> None:
    """Evidence of a kind that the caller did not ask for is of no use to him."""
    with pytest.raises(UnsupportedError) as e:
        interface(kernel(provider="sev_guest")).collect(DATA, provider="tdx_guest")
    assert e.value.code == "machine.attester"


def test_a_machine_without_the_interface_says_so() -> None:
    """Not a failure of the interface: there is none."""
    nowhere = TsmInterface(root=Path("/elsewhere"), files=kernel())
    for ask in (nowhere.provider, lambda: nowhere.collect(DATA, provider="tdx_guest")):
        with pytest.raises(UnsupportedError) as e:
            ask()
        assert e.value.code == "machine.attester"


def test_an_option_that_the_kernel_does_not_have_is_refused() -> None:
    """Nothing is left out silently."""
    with pytest.raises(UnsupportedError) as e:
        interface(kernel()).collect(DATA, provider="tdx_guest", options={"service_guid": "x"})
    assert e.value.code == "machine.attester"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"make": lambda _: b""}, "attester.failed"),
        ({"provider": "\xff"}, "attester.failed"),
        ({"fail": {"outblob": errno.EIO}}, "attester.failed"),
        ({"fail": {"inblob": errno.EINVAL}}, "attester.failed"),
        ({"fail": {"generation": errno.ENXIO}}, "machine.attester"),
        ({"fail": {"auxblob": errno.EIO}}, "attester.failed"),
    ],
)
def test_a_kernel_that_fails_gives_our_errors(changes: dict[str, object], code: str) -> None:
    """By their codes, with nothing left behind."""
    files = kernel(**changes)
    with pytest.raises(CloisterError) as e:
        interface(files).collect(DATA, provider="tdx_guest")
    assert e.value.code == code
    assert files.entries == {}


def test_a_generation_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interface is of another version."""
    files = kernel()
    real = files.read

    def odd(path: Path, *, max_bytes: int) -> bytes:
        return b"-1\n" if path.name == "generation" else real(path, max_bytes=max_bytes)

    monkeypatch.setattr(files, "read", odd)
    with pytest.raises(UnavailableError) as e:
        interface(files).collect(DATA, provider="tdx_guest")
    assert e.value.code == "attester.failed"
