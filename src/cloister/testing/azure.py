"""What Azure puts around a VM, for tests: a vTPM that its firmware keeps, and a metadata service.

The vTPM is a software TPM that is not ours; the firmware leaves a key and a report in it, and makes
a new report whenever the guest writes user data.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cloister.tee.azure.attester import AK_HANDLE, HCL_INDEX, USER_DATA_INDEX
from cloister.tee.azure.layout import HclReport
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.public import ak_template
from cloister.tee.tpm.transport import TpmTransport
from cloister.testing.manufacturers.azure import runtime_data
from cloister.testing.swtpm import SoftwareTpm, store_nv

__all__ = ["Firmware", "MetadataFake"]

_NV_WRITE: Final = 0x137
_NV_READ: Final = 0x14E
_POLL_S: Final = 0.01
_CODE: Final = slice(6, 10)
_INDEX: Final = slice(14, 18)
_DATA: Final = slice(33, 97)  # header, two handles, empty password, length


class Firmware:
    """Azure's firmware under one VM.

    Attributes:
        delay: How many reads of the report it takes until a new one is there.
    """

    def __init__(
        self,
        software: SoftwareTpm,
        mint: Callable[[bytes], HclReport],
        *,
        template: bytes = ak_template("rsa"),
    ) -> None:
        """Boot: make the key, and leave it with a report on it in the vTPM.

        Args:
            software: The vTPM.
            mint: Has the processor report on runtime data.
            template: Of the key.
        """
        self._mint = mint
        self.delay = 0
        self._waiting: list[bytes] = []
        key = load_der_public_key(software.persist(AK_HANDLE, template=template).spki)
        if not isinstance(key, RSAPublicKey):
            raise TypeError("Azure's key is RSA")
        self.modulus: Final = key.public_numbers().n
        software.store(HCL_INDEX, self._report(bytes(64)))

    def below(self, transport: TpmTransport) -> FirmwareTransport:
        """Return the vTPM as the guest has it."""
        return FirmwareTransport(self, transport)

    def pass_on(self, transport: TpmTransport, command: bytes) -> bytes:
        """Do what a command asks, and see what is written."""
        answer = transport.exchange(command)
        if command[_CODE] == _NV_WRITE.to_bytes(4, "big"):
            if command[_INDEX] == USER_DATA_INDEX.to_bytes(4, "big"):
                self._waiting = [self._report(command[_DATA])]
        elif self._waiting and command[_CODE] == _NV_READ.to_bytes(4, "big"):
            if self.delay:
                self.delay -= 1
            else:
                store_nv(Tpm(transport), HCL_INDEX, self._waiting.pop())
        return answer

    def _report(self, user_data: bytes) -> bytes:
        # Software TPMs hold 2048 bytes at an index, so the endorsement key is left out.
        keys = runtime_data(self.modulus)["keys"][:1]
        found = runtime_data(self.modulus, keys=keys) | {"user-data": user_data.hex().upper()}
        return self._mint(json.dumps(found).encode()).to_bytes()


class FirmwareTransport:
    """A way to the vTPM, below which the firmware is."""

    def __init__(self, firmware: Firmware, inner: TpmTransport) -> None:
        """Take both."""
        self._firmware = firmware
        self._inner = inner

    def exchange(self, command: bytes) -> bytes:
        """Pass a command on."""
        return self._firmware.pass_on(self._inner, command)


class MetadataFake:
    """A metadata service on loopback that makes TD quotes, or does something else.

    Attributes:
        status: Of the next answers.
        body: What is answered instead of a quote; None for a quote.
        asked: Bodies of requests.
    """

    def __init__(self, quote: Callable[[bytes], bytes]) -> None:
        """Take what makes quotes of TDREPORTs."""
        self.status = 200
        self.body: bytes | None = None
        self.asked: list[bytes] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self) -> None:
                """Answer."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.asked.append(body)
                known = self.path == "/acc/tdquote"
                answer = fake.body if fake.body is not None else fake.answer(body, quote)
                self.send_response(fake.status if known else 404)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), daemon=True
        )

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @staticmethod
    def answer(body: bytes, quote: Callable[[bytes], bytes]) -> bytes:
        """Make a quote, as Azure writes it: base64url without padding."""
        text = json.loads(body)["report"]
        report = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        made = base64.urlsafe_b64encode(quote(report)).decode().rstrip("=")
        return json.dumps({"quote": made}).encode()
