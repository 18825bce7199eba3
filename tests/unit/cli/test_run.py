"""`cloister run`: what is made of its words; runs themselves are in tests/integration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Evidence
from cloister.cli import run, settings
from cloister.cli.collecting import collector_key
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, EndorsementError, StorageFullError
from cloister.launcher import run as launcher
from cloister.launcher.run import RunHooks, RunOutcome, RunRequest
from cloister.tee.offers import Machine
from cloister.tee.places import Places
from cloister.tee.tdx.layout import MEDIA_TYPE as QUOTE_TYPE
from cloister.testing.keyservice import policy_text
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from unit.cli.conftest import Door


@pytest.fixture
def asked(door: Door, monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """Note what would be run; its output is one line on each stream."""
    requests: list[RunRequest] = []

    def run_workload(request: RunRequest, hooks: RunHooks, *, connect: Any) -> RunOutcome:
        requests.append(request)
        hooks.log("stdout", b"out\n")
        hooks.log("stderr", b"err\n")
        hooks.listening({"api": ("127.0.0.1", 8443)})
        return RunOutcome(
            status=9,
            instance="train-1",
            receipt=request.receipt,
            troubles=(StorageFullError("no room", code="storage.full"),),
            stages={"run": 0.12345},
            processor_ms=1,
            peak_bytes=2,
            hardware_rooted=False,
        )

    connection = settings.Connection(door.bench.domain, "unix:///x", None)
    monkeypatch.setattr(settings, "connect", lambda _domain: connection)
    monkeypatch.setattr(launcher, "run_workload", run_workload)
    (door.folder / "policy.yaml").write_text(policy_text(door.bench))
    return requests


_RUN = ("run", "policy.yaml", "--workload", "train")


def test_status_streams_and_troubles_come_through(door: Door, asked: list[RunRequest]) -> None:
    """The exit status is the workload's."""
    found = door.call(*_RUN)
    assert (found.exit_code, found.stdout) == (9, "out\n")
    for text in ("err\n", "warning: no room [storage.full]", "api listens on 127.0.0.1:8443"):
        assert text in found.stderr
    [request] = asked
    assert request.receipt.parent == Path("receipts")
    assert request.receipt.name.startswith("train-")


def test_json_keeps_standard_output_for_the_object(door: Door, asked: list[RunRequest]) -> None:
    """Logs go to standard error then."""
    found = door.call(*_RUN, "--json")
    assert '"hardware_rooted": false' in found.stdout
    assert "out\n" in found.stderr


def test_words_become_a_request(door: Door, asked: list[RunRequest]) -> None:
    """Stores, receipt, host, code and arguments that are refused later."""
    door.call(*_RUN, "--volume", "data=/x/y", "--receipt", "r.json", "--host", "::1", "--", "more")
    [request] = asked
    assert request.stores == {"data": Path("/x/y")}
    assert (request.receipt, request.host, request.arguments) == (Path("r.json"), "::1", ("more",))
    assert request.base == Path()


@pytest.mark.parametrize("text", ["data", "=x", "data="])
def test_a_volume_that_is_none_is_refused(text: str) -> None:
    """With how to write one."""
    with pytest.raises(ConfigError) as caught:
        settings.read_stores([text])
    assert (caught.value.code, caught.value.hint) == ("config.value", "write NAME=STORE")


_BEFORE_THE_FORK = (
    "cloister.cli.main, cloister.cli.run, cloister.launcher.run, cloister.keyservice.embedded"
)
_AFTER_IT = "cloister.keyservice.client, cloister.launcher.receipt, cloister.crypto.x509"


def _loaded_by(modules: str, wanted: set[str]) -> set[str]:
    code = f"import sys, {modules}; print(*sorted(set({sorted(wanted)!r}) & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(shown.stdout.split())


def test_a_run_loads_what_it_needs_and_no_more() -> None:
    """Start-up time of every run; what the stage does not need is loaded while it builds itself."""
    never = {"uvicorn", "h11", "sqlcipher3", "numpy", "rich", "asyncio"}
    owners = {"cloister.keyservice.owner", "cloister.keyservice.ownership"}
    volumes = {"cloister.volume", "cloister.keyservice.anchors", "cloister.keyservice.anchoring"}
    slow = {"cloister.launcher.measure", "cloister.launcher.scan", "concurrent.futures"}
    later = {"cloister.keyservice.client", "cryptography.x509", "cloister.launcher.receipt"}
    unneeded = never | owners | volumes | slow
    assert _loaded_by(_BEFORE_THE_FORK, unneeded | later) == set()
    assert _loaded_by(f"{_BEFORE_THE_FORK}, {_AFTER_IT}", unneeded | later) == later


def test_what_attests_and_what_vouches_is_handed_on(door: Door, asked: list[RunRequest]) -> None:
    """The kind as it was named, and endorsements read; a file that is none is refused at once."""
    intel = SimulatedIntel(b"seed", at=0)
    collateral = intel.mint(IntelCase("tdx5")).collateral
    (door.folder / "collateral.json").write_bytes(collateral)
    words = ("--root-of-trust", "tdx", "--endorsements", door.folder / "collateral.json")
    assert door.call(*_RUN, *words).exit_code == 9
    assert door.call(*_RUN).exit_code == 9
    quote = Evidence(QUOTE_TYPE, intel.mint(IntelCase("tdx5")).quote)
    first, second = asked
    assert (first.root_of_trust, second.root_of_trust) == ("tdx", "")
    assert [each.body for each in first.vouching(quote, "tdx")] == [collateral]
    assert second.vouching(quote, "tdx") == ()
    assert (first.machine, second.machine) == (None, None)
    newer = SimulatedIntel(b"seed", at=9).mint(IntelCase("tdx5")).collateral
    (door.folder / "collateral.json").write_bytes(newer)
    [found] = first.vouching(quote, "tdx")
    assert found.body == newer  # a renewal sends what is there then
    (door.folder / "collateral.json").write_bytes(b"hello")
    error = door.call(*_RUN, *words).exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.value"


def test_where_the_machine_has_its_interfaces_is_handed_on(
    door: Door, asked: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By options and by the environment, as `evidence collect` takes them."""
    monkeypatch.setenv("CLOISTER_TPM", "/a/tpm")
    words = ("--tsm", "/a/tsm", "--gramine", "/a/gramine", "--nvml", "/a/nvml")
    assert door.call(*_RUN, *words, "--metadata", "http://127.0.0.1:9").exit_code == 9
    [request] = asked
    assert request.machine == Machine(
        Places(
            tsm=Path("/a/tsm"),
            gramine=Path("/a/gramine"),
            tpm=Path("/a/tpm"),
            metadata="http://127.0.0.1:9",
            nvml=Path("/a/nvml"),
        )
    )


def test_bundles_are_taken_of_collectors_who_are_named(
    door: Door, asked: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own where none is; nobody else's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(door.folder / "config"))
    minted = SimulatedIntel(b"seed", at=0).mint(IntelCase("tdx5"))
    quote = Evidence(QUOTE_TYPE, minted.quote)
    other = SigningKey.generate()
    for name, key in (("own", collector_key(None)), ("other", other)):
        items = [Collected(each, "https://here.example", 0) for each in minted.endorsements]
        (door.folder / name).write_bytes(EndorsementBundle.make(items, key)[1])
    for name, words in (("own", ()), ("other", ("--collector", other.public.text))):
        assert door.call(*_RUN, "--endorsements", door.folder / name, *words).exit_code == 9
        assert tuple(asked[-1].vouching(quote, "tdx")) == minted.endorsements
    error = door.call(*_RUN, "--endorsements", door.folder / "other").exception
    assert isinstance(error, EndorsementError)
    assert error.code == "endorsement.collector"
    wrong = door.call(*_RUN, "--endorsements", door.folder / "own", "--collector", "x").exception
    assert isinstance(wrong, ConfigError)


def test_the_command_that_explains_a_refusal_is_whole() -> None:
    """With the plain code that the policy digests, and quoted for a shell."""
    explained = run._explaining(Path("my policy.yaml"), "serve", Path("serve-code"))
    assert explained == (
        "cloister policy explain 'my policy.yaml' --workload serve --code serve-code"
    )
    assert run._explaining(Path("p.yaml"), "w", None).endswith("--workload w")
