"""`cloister proxy` as a process between standard clients and a private server, over loopback."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, IdentityError
from cloister.inference.model import LiteRTModel, read_model_file
from cloister.inference.private import AnyPolicy, Member, Principal, PrivateClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.testing.certificates import POLICY_HASH, FakeDomain
from cloister.testing.serving import ServerProcess, server_process, write_identity

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

MODELS = Path(__file__).parents[1] / "data" / "models"
NOW = int(time.time())  # noqa: TID251  # certificates are good around it
DOMAIN = FakeDomain("clinic.example", at=NOW)
ID = DOMAIN.identity("serve").uri
POLICY = "sha256:" + POLICY_HASH.hex()
KEY = SigningKey.generate()
_CLOISTER = "from cloister.cli.main import main; main()"
IMAGES = np.random.default_rng(5).random((3, 8, 8, 1), dtype=np.float32)


@dataclass(frozen=True)
class Proxy:
    """Where a proxy listens."""

    http: str
    grpc: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("proxy")
    write_identity(made / "identity", DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem)
    (made / "domain.json").write_text(
        json.dumps({"name": DOMAIN.name, "ca": DOMAIN.ca_pem.decode()})
    )
    (made / "alice.key").write_bytes(KEY.to_secret())
    (made / "alice.key").chmod(0o600)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    arguments = ["--private", "--asker", f"alice={KEY.public.text}", "--outer-plain"]
    arguments += ["--client", DOMAIN.identity("client").uri]
    model = MODELS / "digits.tflite"
    with server_process(model, folder / "identity", name="digits", arguments=arguments) as running:
        yield running


@contextmanager
def proxy_process(folder: Path, url: str, *more: str) -> Iterator[Proxy]:
    command = [sys.executable, "-c", _CLOISTER, "proxy", url, "--identity", ID]
    command += ["--trust", str(folder / "domain.json"), "--policy", POLICY, "--json"]
    command += ["--principal", "alice", "--key", str(folder / "alice.key")]
    command += ["--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = b""
        for line in process.stdout:
            said += line
            try:
                places = json.loads(said)
                break
            except ValueError:
                continue
        else:
            raise AssertionError(process.communicate()[1].decode())
        try:
            yield Proxy(places["http"], places["grpc"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
            assert process.returncode == 0


@pytest.fixture(scope="module")
def proxy(folder: Path, server: ServerProcess) -> Iterator[Proxy]:
    with proxy_process(folder, server.url.replace("https", "http")) as running:
        yield running


def local() -> Any:
    model = LiteRTModel(read_model_file(MODELS / "digits.tflite"), threads=1)
    return model.predict({"image": IMAGES})["output_0"]


@pytest.mark.spec("PQ-71")
def test_urllib_asks_as_if_the_model_were_here(proxy: Proxy) -> None:
    """JSON in, JSON out, bit for bit; metadata and health as well."""
    record = {
        "inputs": [
            {
                "name": "image",
                "datatype": "FP32",
                "shape": list(IMAGES.shape),
                "data": IMAGES.ravel().tolist(),
            }
        ]
    }
    asked = Request(  # the test's own proxy
        f"http://{proxy.http}/v2/models/digits/infer",
        data=json.dumps(record).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(asked, timeout=30) as response:  # noqa: S310  # likewise
        (output,) = json.loads(response.read())["outputs"]
    found = np.array(output["data"], np.float32).reshape(output["shape"])
    assert found.tobytes() == local().tobytes()
    for target in ("/v2", "/v2/models/digits", "/v2/health/ready"):
        with urlopen(f"http://{proxy.http}{target}", timeout=30) as response:
            assert response.status == 200


def test_tritonclient_over_http(proxy: Proxy) -> None:
    """The standard client, binary tensors both ways."""
    client_module = pytest.importorskip("tritonclient.http")
    client = client_module.InferenceServerClient(proxy.http)
    try:
        assert client.is_server_live()
        assert client.is_model_ready("digits")
        assert client.get_model_metadata("digits")["inputs"][0]["name"] == "image"
        given = client_module.InferInput("image", list(IMAGES.shape), "FP32")
        given.set_data_from_numpy(IMAGES)
        found = client.infer("digits", [given], request_id="7")
        assert found.as_numpy("output_0").tobytes() == local().tobytes()
        assert found.get_response()["id"] == "7"
    finally:
        client.close()


@pytest.mark.spec("PQ-75")
def test_tritonclient_over_grpc(proxy: Proxy) -> None:
    """The standard client: raw contents, outputs by name, metadata, health, and refusals."""
    client_module = pytest.importorskip("tritonclient.grpc")
    client = client_module.InferenceServerClient(proxy.grpc)
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        assert not client.is_model_ready("none")
        assert client.get_server_metadata().name == "cloister"
        metadata = client.get_model_metadata("digits")
        assert list(metadata.inputs[0].shape) == [-1, 8, 8, 1]
        given = client_module.InferInput("image", list(IMAGES.shape), "FP32")
        given.set_data_from_numpy(IMAGES)
        wish = client_module.InferRequestedOutput("output_0")
        for outputs in (None, [wish]):
            found = client.infer("digits", [given], outputs=outputs, request_id="7")
            assert found.as_numpy("output_0").tobytes() == local().tobytes()
            assert found.get_response().id == "7"
        with pytest.raises(Exception, match="no such model") as refused:
            client.infer("none", [given])
        assert refused.value.status() == "StatusCode.NOT_FOUND"
    finally:
        client.close()


@pytest.mark.spec("PQ-72")
def test_pages_of_a_browser_are_refused(proxy: Proxy) -> None:
    """A request from a page, or to another name that points here."""
    asked = Request(f"http://{proxy.http}/v2", headers={"Origin": "https://evil.example"})
    with pytest.raises(HTTPError) as found:
        urlopen(asked, timeout=30)  # noqa: S310  # likewise
    assert found.value.code == 403
    found.value.close()
    host, port = proxy.http.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/v2", headers={"Host": f"evil.example:{port}"})
    assert connection.getresponse().status == 421
    connection.close()


@pytest.mark.spec("PQ-70")
def test_a_proxy_does_not_start_for_another_policy(folder: Path, server: ServerProcess) -> None:
    """Before anything listens, it has looked; the exit status is a refusal's."""
    command = [sys.executable, "-c", _CLOISTER, "proxy"]
    command += [server.url.replace("https", "http"), "--identity", ID, "--listen", "127.0.0.1:0"]
    command += ["--trust", str(folder / "domain.json"), "--policy", "sha256:" + "7" * 64]
    command += ["--principal", "alice", "--key", str(folder / "alice.key")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == IdentityError.exit_status
    assert "identity.policy" in done.stderr


def test_three_lines_ask_in_private(folder: Path, server: ServerProcess) -> None:
    """The Python client, with a key and with a certificate; inputs are cut so that answers fit."""
    url = server.url.replace("https", "http")
    for asker in (Principal("alice", KEY), Member(DOMAIN.credential("client"))):
        with PrivateClient(
            url, trust=folder / "domain.json", identity=ID, policy=POLICY, asker=asker
        ) as client:
            assert client.predict(IMAGES).tobytes() == local().tobytes()
            assert client.peer.policy_hash == POLICY_HASH
    many = np.zeros((4000, 8, 8, 1), np.float32)
    with PrivateClient(
        url,
        trust=DOMAIN.ca_pem,
        identity=ID,
        policy=AnyPolicy("a test of batches"),
        asker=Principal("alice", KEY),
    ) as client:
        assert client.predict(many).shape == (4000, 10)
    with pytest.raises(ConfigError):
        PrivateClient(url, trust=DOMAIN.ca_pem, identity=ID, policy="", asker=asker)


def test_cloister_query_asks_in_private(
    folder: Path, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the command line, without a proxy; without --private the words would mean nothing."""
    monkeypatch.setattr("cloister.cli.settings.hide_memory", lambda: None)
    domain = TrustDomain.create(tmp_path / "domain", DOMAIN.name, moment=read_clock())
    pinned = domain.directory / "domain.json"
    facts = json.loads(pinned.read_text("utf-8"))
    pinned.write_text(json.dumps(facts | {"ca": DOMAIN.ca_pem.decode()}))
    np.save(tmp_path / "input.npy", IMAGES)
    words = ["query", server.url.replace("https", "http"), str(tmp_path / "input.npy"), "--json"]
    words += ["--identity", ID, "--domain", str(domain.directory), "--policy", POLICY]
    words += ["--principal", "alice", "--key", str(folder / "alice.key")]
    shown = CliRunner().invoke(app, [*words, "--private"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert np.float32(found["outputs"]["output"]).tobytes() == local().tobytes()
    assert found["policy"] == POLICY
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, ConfigError)
    assert refused.exception.code == "config.value"


@pytest.mark.spec("PQ-53")
def test_a_private_server_over_tls_and_after_a_restart(folder: Path) -> None:
    """TLS outside with a certificate that nobody judges; a client goes on when keys change."""
    arguments = ["--private", "--asker", f"alice={KEY.public.text}"]
    arguments += ["--any-client", "principals ask inside"]
    model = MODELS / "digits.tflite"
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    client = PrivateClient(
        f"https://127.0.0.1:{port}",
        trust=DOMAIN.ca_pem,
        identity=ID,
        policy=POLICY,
        asker=Principal("alice", KEY),
    )
    more = ["--port", str(port)]
    with client:
        for _ in range(2):
            with server_process(
                model, folder / "identity", name="digits", arguments=[*arguments, *more]
            ):
                assert client.predict(IMAGES).tobytes() == local().tobytes()


@pytest.mark.spec("PQ-24")
def test_a_private_server_needs_somebody_who_may_ask(folder: Path) -> None:
    """It ends with the caller's error, and listens for nobody."""
    command = [sys.executable, "-m", "cloister.inference.server", "--model"]
    command += [str(MODELS / "digits.tflite"), "--name", "digits", "--port", "0", "--private"]
    command += ["--identity", str(folder / "identity"), "--any-client", "nobody in particular"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ConfigError.exit_status
    assert "config.missing" in done.stderr
