"""A server that cannot start says why, with a code and an exit status."""

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cloister.errors import AppraisalError, ConfigError
from cloister.inference import server
from cloister.inference.server import end, keep_current, keep_fresh, keep_tidy, main
from cloister.network.tls import AnyClient, Credential, server_context
from cloister.testing.certificates import FakeDomain
from cloister.testing.serving import write_identity

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
MODEL = Path(__file__).parents[2] / "data" / "models" / "digits.tflite"
ANY = ["--any-client", "a test of starting"]
PORT = ["--port", "0"]


@pytest.fixture
def identity(tmp_path: Path) -> list[str]:
    credential = DOMAIN.credential("serve")
    folder = write_identity(tmp_path / "identity", credential, ca_pem=DOMAIN.ca_pem)
    return ["--identity", str(folder)]


CASES = [
    ([*ANY, *PORT, "--model", "/nowhere.tflite"], "config.file", 65),
    ([*ANY, *PORT, "--identity", "/nowhere"], "config.file", 65),
    ([*ANY, *PORT, "--name", "a/b"], "message.malformed", 71),
    (["--any-client", "x", *PORT], "config.value", 65),
    (["--client", "me", *PORT], "certificate.malformed", 71),
    ([*ANY], "config.value", 65),
    (["--client", DOMAIN.identity("client").uri], "config.value", 65),
    (PORT, "config.missing", 65),
    ([], "config.missing", 65),
    ([*ANY, *PORT, "--deadline", "nan"], "config.value", 65),
]


@pytest.mark.spec("SRV-35")
@pytest.mark.parametrize(("arguments", "code", "status"), CASES, ids=range(len(CASES)))
def test_a_server_that_cannot_start_says_why(
    identity: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: str,
    status: int,
) -> None:
    """Files, names, rules: each with its code; nothing listens afterwards."""
    common = ["--model", str(MODEL), "--name", "digits", *identity]
    assert main([*common, *arguments]) == status
    assert f"[{code}]" in capsys.readouterr().err


def test_a_damaged_model_starts_nothing(
    tmp_path: Path, identity: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut file is found before the first query."""
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(MODEL.read_bytes()[:500])
    arguments = ["--model", str(damaged), "--name", "digits", *identity, *ANY, *PORT]
    assert main(arguments) == 71
    assert "[model.malformed]" in capsys.readouterr().err


@pytest.mark.spec("SRV-47")
def test_a_refusal_has_the_number_that_failed(
    identity: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule, expected, found and the next step, as on the command line."""

    def refuse(*_: object, **__: object) -> None:
        raise AppraisalError(
            "the report does not pass",
            code="model.refused",
            rule="decoder.ssim-gain.high",
            expected="<= 0.5",
            found="0.54",
            detail="SECRET",
            hint="cut deeper",
        )

    monkeypatch.setattr(server, "open_models", refuse)
    arguments = ["--model", str(MODEL), "--name", "digits", *identity, *ANY, *PORT]
    assert main(arguments) == 77
    said = capsys.readouterr().err
    for text in ("decoder.ssim-gain.high", "<= 0.5", "0.54", "cut deeper", "[model.refused]"):
        assert text in said
    assert "SECRET" not in said


def test_an_interrupt_while_it_loads_ends_it_without_a_traceback(
    tmp_path: Path, identity: list[str]
) -> None:
    """As the signal does: nothing is said."""
    model = tmp_path / "model.tflite"
    os.mkfifo(model)
    arguments = ["--model", str(model), "--name", "digits", *identity, *ANY, *PORT]
    with subprocess.Popen(
        [sys.executable, "-m", "cloister.inference.server", *arguments],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
    ) as process:
        with model.open("wb"):  # it waits for the model's bytes now
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == -signal.SIGINT
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_two_rules_at_once_are_a_mistake(identity: list[str]) -> None:
    """Either named clients or anybody."""
    both = [*ANY, "--client", DOMAIN.identity("client").uri]
    with pytest.raises(SystemExit) as caught:
        main(["--model", str(MODEL), "--name", "digits", *identity, *PORT, *both])
    assert caught.value.code == 2


@pytest.mark.spec("SRV-36")
def test_a_renewed_certificate_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest that can be used; a folder that is spoilt for a while changes nothing."""
    first, second = DOMAIN.credential("serve"), DOMAIN.credential("serve")
    folder = write_identity(tmp_path / "identity", first, ca_pem=DOMAIN.ca_pem)
    context = server_context(
        first, ca_pem=DOMAIN.ca_pem, clients=AnyClient("a test of renewing"), clock=lambda: NOW
    )
    taken: list[bytes] = []

    def replace(given: ssl.SSLContext, credential: Credential) -> None:
        assert given is context
        taken.append(credential.certificate_pem)

    monkeypatch.setattr("cloister.inference.server.replace_credential", replace)

    async def watch() -> None:
        task = asyncio.create_task(keep_fresh(context, folder, shown=first, every_s=0.01))
        await asyncio.sleep(0.1)
        assert taken == []
        (folder / "cert.pem").unlink()
        await asyncio.sleep(0.1)
        (folder / "key.pem").write_bytes(second.key_pem)
        (folder / "cert.pem").write_bytes(second.certificate_pem)
        end = time.monotonic() + 10
        while second.certificate_pem not in taken and time.monotonic() < end:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(watch())
    assert taken[-1] == second.certificate_pem


@pytest.mark.spec("PQ-6")
def test_what_is_over_is_forgotten_again_and_again() -> None:
    """Until the server stops."""
    seen: list[int] = []

    async def watch() -> None:
        task = asyncio.create_task(keep_tidy(lambda: seen.append(1), every_s=0.01))
        end = time.monotonic() + 10
        while len(seen) < 3 and time.monotonic() < end:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(watch())
    assert len(seen) >= 3


@pytest.mark.spec("SRV-46")
@pytest.mark.usefixtures("caplog")
def test_a_catalogue_is_looked_at_again_and_again() -> None:
    """Whatever a look says; and who stops does not wait for one that takes long."""
    looks: list[int] = []
    slow = threading.Event()

    def step() -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            raise ConfigError("away", code="config.file")
        if len(looks) == 3:
            slow.wait(20)

    async def watch() -> None:
        task = asyncio.create_task(keep_current(step, every_s=0.01))
        end = time.monotonic() + 10
        while len(looks) < 3 and time.monotonic() < end:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    began = time.monotonic()
    asyncio.run(watch())
    assert time.monotonic() - began < 15
    slow.set()
    assert looks == [0, 1, 2]


STUCK = """
import threading
from cloister.inference.http import CLIENT_THREAD
from cloister.inference.server import end
threading.Thread(target=threading.Event().wait, name=CLIENT_THREAD, daemon=True).start()
print("said")
end(7)
"""


@pytest.mark.spec("SRV-38")
def test_a_process_ends_though_a_computation_does_not() -> None:
    """With its status, and what it said."""
    found = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, timeout=60, check=False
    )
    assert (found.returncode, found.stdout) == (7, b"said\n")


def test_a_process_ends_with_its_status() -> None:
    """Where nothing is left."""
    with pytest.raises(SystemExit) as caught:
        end(65)
    assert caught.value.code == 65
