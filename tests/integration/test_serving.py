"""A server process and its clients, over loopback."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    UnavailableError,
)
from cloister.inference import Client
from cloister.inference.model import LiteRTModel, read_model_file
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.network.tls import client_context, connect
from cloister.testing.certificates import FakeDomain
from cloister.testing.serving import ServerProcess, server_process, write_identity

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

MODELS = Path(__file__).parents[1] / "data" / "models"
NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
OTHER = FakeDomain("clinic.example", at=NOW)
SERVER_ID = DOMAIN.identity("serve").uri
CLIENT_ID = DOMAIN.identity("client").uri
LIMITS = ["--max-request-bytes", "100000", "--request-timeout", "1", "--idle-timeout", "20",
          "--handshake-timeout", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "identity"
    return write_identity(folder, DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem)


@pytest.fixture(scope="module")
def server(identity: Path) -> Iterator[ServerProcess]:
    arguments = ["--any-client", "tests come without certificates", *LIMITS]
    model = MODELS / "digits.tflite"
    with server_process(model, identity, name="digits", arguments=arguments) as running:
        yield running


@pytest.fixture(scope="module")
def closed_server(identity: Path) -> Iterator[ServerProcess]:
    model = MODELS / "pair.tflite"
    with server_process(
        model, identity, name="pair", arguments=["--client", CLIENT_ID, *LIMITS]
    ) as running:
        yield running


def client_of(server: ServerProcess, **changes: object) -> Client:
    options: dict[str, object] = {"trust": DOMAIN.ca_pem, "identity": SERVER_ID, "timeout_s": 10.0}
    return Client(server.url, **(options | changes))


def raw(server: ServerProcess) -> socket.socket:
    """Return an attested connection on which anything may be sent."""
    context = client_context(
        ca_pem=DOMAIN.ca_pem,
        expected=DOMAIN.identity("serve"),
        credential=None,
        clock=lambda: NOW,
    )
    return connect(("127.0.0.1", server.port), context=context, timeout_s=10)


def answer_to(server: ServerProcess, *pieces: bytes) -> bytes:
    """Send pieces, then read until the server closes or answers in full."""
    with raw(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
            if b"\r\n\r\n" in found and b"connection: close" not in found.lower():
                break
    return found


def test_three_lines_predict(server: ServerProcess, tmp_path: Path) -> None:
    """Against a domain file, with the policy's facts at hand, bit for bit as in this process."""
    domain = tmp_path / "domain.json"
    domain.write_text(json.dumps({"name": DOMAIN.name, "ca": DOMAIN.ca_pem.decode()}))
    images = np.random.default_rng(1).random((20, 8, 8, 1), dtype=np.float32)
    client = Client(server.url, trust=domain, identity=SERVER_ID)
    found = client.predict(images)
    local = LiteRTModel(read_model_file(MODELS / "digits.tflite"), threads=1).predict(
        {"image": images}
    )
    assert found.tobytes() == local["output_0"].tobytes()
    assert found.dtype == np.float32
    assert client.peer.hardware_rooted is False
    assert client.peer.identity.role == "serve"
    client.close()


def test_the_readme_asks_a_server_as_written(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines of Python, and its `cloister query`, with the address and the identity put in."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    domain = TrustDomain.create(tmp_path / "domain", DOMAIN.name, moment=read_clock())
    pinned = domain.directory / "domain.json"
    facts = json.loads(pinned.read_text())
    pinned.write_text(json.dumps(facts | {"ca": DOMAIN.ca_pem.decode()}))
    monkeypatch.chdir(domain.directory)
    images = np.random.default_rng(3).random((2, 8, 8, 1), dtype=np.float32)
    np.save("input.npy", images)
    identity = SERVER_ID.rpartition("/")[0] + "/*"

    (lines,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    for example, real in {
        "https://10.0.0.7:8443": server.url,
        "spiffe://example.org/default/mine/serve/*": identity,
    }.items():
        assert lines.count(f'"{example}"') == 1
        lines = lines.replace(example, real)
    names: dict[str, Any] = {"images": images}
    exec(compile(lines, "README.md", "exec"), names)  # noqa: S102  # what readers are told to run
    expected = names["client"].predict(images)
    names["client"].close()

    (command,) = re.findall(r"^cloister (query .*)$", readme, re.MULTILINE)
    for example, real in {"https://HOST:PORT": server.url, "spiffe://…/*": identity}.items():
        assert command.count(example) == 1
        command = command.replace(example, real)
    arguments = [*shlex.split(command), "--domain", ".", "--json"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    answer = json.loads(shown.stdout)
    assert np.array_equal(np.float32(answer["outputs"]["output"]), expected)
    assert answer["peer"].rpartition("/")[0] + "/*" == identity


def test_large_inputs_go_in_several_queries(server: ServerProcess) -> None:
    """More than the server takes at once is cut by rows and put together again."""
    images = np.random.default_rng(2).random((1000, 8, 8, 1), dtype=np.float32)
    assert images.nbytes > 100_000
    with client_of(server, batch_bytes=50_000) as client:
        found = client.predict(images)
    model = LiteRTModel(read_model_file(MODELS / "digits.tflite"), threads=1)
    parts = [model.predict({"image": images[i : i + 195]}) for i in range(0, 1000, 195)]
    assert found.tobytes() == np.concatenate([p["output_0"] for p in parts]).tobytes()
    with client_of(server) as client, pytest.raises(ConfigError, match="100000 bytes") as caught:
        client.predict(images)
    assert caught.value.code == "config.value"


def test_clients_share_a_server(server: ServerProcess) -> None:
    """Ten at a time, each gets its own answer."""
    images = np.random.default_rng(3).random((10, 8, 8, 1), dtype=np.float32)
    model = LiteRTModel(read_model_file(MODELS / "digits.tflite"), threads=1)
    expected = [model.predict({"image": images[i : i + 1]})["output_0"] for i in range(10)]
    wrong: list[int] = []

    def ask(index: int) -> None:
        with client_of(server) as client:
            for _ in range(5):
                found = client.predict(images[index : index + 1])
                if found.tobytes() != expected[index].tobytes():
                    wrong.append(index)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_inputs_of_several_names_and_types(closed_server: ServerProcess) -> None:
    """A named client asks a model with two inputs and two outputs."""
    with client_of(closed_server, credential=DOMAIN.credential("client")) as client:
        found = client.predict(
            {"numbers": np.array([[1, 2, 3], [4, 5, 6]], np.int16), "weights": np.ones(2, "f4")}
        )
        assert found["sum"].tolist() == [6, 15]
        assert found["weighed"].dtype == np.float32


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((1, 8, 8, 1), np.float64),
        np.zeros((1, 8, 8, 1), np.int32),
        np.zeros((1, 8, 8), np.float32),
        np.zeros((8, 8, 1), np.float32),
        np.zeros((1, 8, 9, 1), np.float32),
        {"other": np.zeros((1, 8, 8, 1), np.float32)},
        np.array(["text"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_they_are_sent(
    server: ServerProcess, inputs: object
) -> None:
    """Shapes, names and types that would lose something."""
    with client_of(server) as client, pytest.raises(ConfigError) as caught:
        client.predict(inputs)
    assert caught.value.code == "config.value"


def test_an_empty_batch_is_refused(server: ServerProcess) -> None:
    """An open axis has at least one row."""
    with client_of(server) as client, pytest.raises(ConfigError):
        client.predict(np.zeros((0, 8, 8, 1), np.float32))


REFUSED = [
    ({"trust": OTHER.ca_pem}, IdentityError, "identity.tls"),
    ({"identity": DOMAIN.identity("train").uri}, IdentityError, "identity.peer"),
    ({"identity": DOMAIN.identity("serve", instance="i-9").uri}, IdentityError, "identity.peer"),
    ({"model": "letters"}, ConfigError, "config.value"),
]


@pytest.mark.spec("SRV-31")
@pytest.mark.parametrize(("changes", "kind", "code"), REFUSED)
def test_a_server_that_is_not_the_expected_one_gets_no_query(
    server: ServerProcess, changes: dict[str, object], kind: type[CloisterError], code: str
) -> None:
    """Another authority, role or instance is refused by the client."""
    with client_of(server, **changes) as client, pytest.raises(kind) as caught:
        client.predict(np.zeros((1, 8, 8, 1), np.float32))
    assert caught.value.code == code


@pytest.mark.spec("SRV-30")
@pytest.mark.parametrize("role", [None, "train", "foreign"])
def test_a_client_that_the_server_does_not_name_gets_nothing(
    closed_server: ServerProcess, role: str | None
) -> None:
    """No certificate, another role, another authority: no page is shown."""
    credential = None
    if role is not None:
        credential = (OTHER if role == "foreign" else DOMAIN).credential(role)
    with (
        client_of(closed_server, credential=credential) as client,
        pytest.raises((IdentityError, UnavailableError)) as caught,
    ):
        client.describe()
    assert caught.value.code in {"identity.tls", "server.unreachable"}
    with client_of(closed_server, credential=DOMAIN.credential("client")) as client:
        assert client.describe().name == "pair"


def test_an_expired_server_is_refused(tmp_path: Path) -> None:
    """The client says that it is about time."""
    expired = DOMAIN.credential("serve", at=NOW - 50_000, lifetime_s=1000)
    folder = write_identity(tmp_path / "identity", expired, ca_pem=DOMAIN.ca_pem)
    arguments = ["--any-client", "a test of clocks"]
    with (
        server_process(
            MODELS / "digits.tflite", folder, name="digits", arguments=arguments
        ) as running,
        client_of(running) as client,
        pytest.raises(IdentityError) as caught,
    ):
        client.describe()
    assert caught.value.code == "identity.clock"
    assert caught.value.hint is not None


@pytest.mark.spec("SRV-30")
def test_plaintext_and_old_tls_get_no_answer(server: ServerProcess) -> None:
    """The port speaks TLS 1.3 and nothing else, and lives on."""
    for hello in (b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01" + bytes(200), b"\x00"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
            plain.sendall(hello)
            plain.shutdown(socket.SHUT_WR)
            try:
                found = plain.recv(1000)
            except ConnectionResetError:
                found = b""
        assert b"HTTP" not in found
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(plain)
    with client_of(server) as client:
        assert client.describe().name == "digits"


@pytest.mark.spec("SRV-32")
@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((b"nonsense\r\n\r\n",), b"400"),
        ((b"\x00\x01\x02\r\n\r\n",), b"400"),
        ((b"GET /v2 HTTP/1.1\r\n\r\n",), b"400"),
        ((b"GET /v2 HTTP/3.0\r\nhost: x\r\n\r\n",), b"505"),
        ((b"GET /v2 HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 20_000 + b"\r\n\r\n",), b"431"),
        ((b"GET /" + b"a" * 20_000,), b"431"),
        ((b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n",),
         b"413"),
        ((b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
          *[b"8000\r\n" + bytes(0x8000) + b"\r\n"] * 4), b"413"),
        ((b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n123",),
         b"408"),
        ((b"POST /v2/models/digits/infer HTTP/1.1\r\nho",), b"408"),
        ((b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",),
         b"400"),
        ((b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
          b"content-length: 3\r\n\r\n",), b"400"),
    ],
    ids=range(12),
)  # fmt: skip
def test_requests_that_are_none_are_refused_and_the_connection_closed(
    server: ServerProcess, pieces: tuple[bytes, ...], status: bytes
) -> None:
    """Garbage, floods and stalls get a status, an end, and hurt nobody else."""
    found = answer_to(server, *pieces)
    assert found.split(b" ")[1] == status
    assert b"connection: close" in found.lower()
    assert b'{"error":' in found


@pytest.mark.spec("SRV-32")
def test_a_client_that_stalls_keeps_nobody_waiting(server: ServerProcess) -> None:
    """Half a request and half a handshake are open while others are served."""
    with raw(server) as slow, socket.create_connection(("127.0.0.1", server.port)) as silent:
        slow.sendall(b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n")
        silent.sendall(b"\x16\x03\x01\x02\x00")
        with client_of(server) as client:
            assert client.predict(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 10)
        silent.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(100) == b""


def test_expectations_are_met(server: ServerProcess) -> None:
    """A client that waits for 100 Continue gets it."""
    body = b'{"inputs":[]}'
    with raw(server) as connection:
        connection.sendall(
            b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")


@pytest.mark.spec("SRV-33")
def test_a_crowd_that_is_idle_keeps_nobody_out(server: ServerProcess) -> None:
    """For the 65th connection the one ends that has been quiet for longest; the others stay."""
    crowd = [raw(server) for _ in range(64)]
    try:
        for connection in crowd:
            require_live(connection)
        with client_of(server) as client:
            assert client.describe().name == "digits"
        crowd[0].settimeout(10)
        assert crowd[0].recv(1000) == b""
        require_live(crowd[1])
    finally:
        for connection in crowd:
            connection.close()


def require_live(connection: socket.socket) -> None:
    """Ask whether the server is live, and take all of the answer."""
    connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b'{"live":true}'):
        part = connection.recv(1000)
        assert part, answer
        answer += part
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_client_survives_a_restart(identity: Path) -> None:
    """A connection that has gone stale is opened again, once."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    client = Client(
        f"https://127.0.0.1:{port}", trust=DOMAIN.ca_pem, identity=SERVER_ID, timeout_s=10
    )
    arguments = ["--any-client", "a test of restarts", "--port", str(port)]
    for _ in range(2):
        with server_process(MODELS / "digits.tflite", identity, name="digits", arguments=arguments):
            assert client.predict(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 10)
    with pytest.raises(UnavailableError) as caught:
        client.predict(np.zeros((1, 8, 8, 1), np.float32))
    assert caught.value.code == "server.unreachable"
    assert caught.value.retryable


def test_nobody_there_is_said_at_once() -> None:
    """A closed port is unreachable, and a silent one is within the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = Client(
            f"https://127.0.0.1:{port}", trust=DOMAIN.ca_pem, identity=SERVER_ID, timeout_s=0.5
        )
        started = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            client.describe()
        assert caught.value.code == "server.unreachable"
        assert time.monotonic() - started < 5
    with pytest.raises(UnavailableError):
        client.describe()


def rules(folder: Path, **listeners: object) -> Path:
    """Write what the launcher writes about listeners."""
    path = folder / "listeners.json"
    path.write_text(json.dumps({"format": "cloister/listeners/v1", "listeners": listeners}))
    return path


OPEN_RULE = {"clients": [], "unchecked": "a test of passing"}


@pytest.mark.spec("SRV-35")
def test_a_listening_socket_may_be_passed(identity: Path, tmp_path: Path) -> None:
    """Descriptor 3 with LISTEN_FDS, as the launcher does it; SIGINT ends the server cleanly."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = (
            "import os,sys;os.dup2(int(sys.argv[1]),3);os.set_inheritable(3,True);"
            "os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()),LISTEN_FDNAMES='rest');"
            "os.execv(sys.executable,[sys.executable,*sys.argv[2:]])"
        )
        command = [sys.executable, "-c", script, str(listener.fileno()), "-m",
                   "cloister.inference.server", "--model", str(MODELS / "digits.tflite"),
                   "--name", "digits", "--identity", str(identity),
                   "--listeners", str(rules(tmp_path, rest=OPEN_RULE))]  # fmt: skip
        process = subprocess.Popen(
            command, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True
        )
    client = Client(f"https://127.0.0.1:{port}", trust=DOMAIN.ca_pem, identity=SERVER_ID)
    assert client.predict(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    client.close()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert errors.rstrip().endswith("stopped")


@pytest.mark.spec("SRV-35")
def test_what_is_no_listening_socket_is_refused(identity: Path, tmp_path: Path) -> None:
    """A file as descriptor 3 is named as the mistake that it is."""
    script = (
        "import os,sys;os.dup2(os.open('/dev/null',0),3);"
        "os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()),LISTEN_FDNAMES='rest');"
        "os.execv(sys.executable,[sys.executable,*sys.argv[1:]])"
    )
    command = [sys.executable, "-c", script, "-m", "cloister.inference.server", "--model",
               str(MODELS / "digits.tflite"), "--name", "digits", "--identity", str(identity),
               "--listeners", str(rules(tmp_path, rest=OPEN_RULE))]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )
    assert done.returncode == 65
    assert "[config.missing]" in done.stderr
