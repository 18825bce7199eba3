"""Manufacturers' services on loopback, over real TLS: they answer as genuine ones, or misbehave.

Behind them stand the simulated manufacturers, so that what is fetched vouches for their evidence.

Example::

    with FakeEndorsers(VaultAuthority(at=now), at=now) as endorsers:
        endorsers.intel(minted)
        asking = Asking(Services.of(endorsers.sources), cache, send=ask, authorities=authority.pem)

As a program, for guides: `python -m cloister.testing.endorsers FOLDER` writes a simulated TD's
quote and how to reach its manufacturer into a folder, and serves until its parent has ended.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from cloister.testing.manufacturers.amd import SimulatedAmd, SimulatedChip
from cloister.testing.manufacturers.intel import IntelCase, Minted, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedGpu, SimulatedNvidia
from cloister.testing.vault import VaultAuthority, http_answer

__all__ = ["BOARD", "Asked", "FakeEndorsers", "Fault"]

BOARD: Final = ("1010", "0200", "882")
_READ_BYTES: Final = 65_536
_TIMEOUT_S: Final = 20.0
_AMD_NAMES: Final = {
    "fmc": "fmcSPL", "bootloader": "blSPL", "tee": "teeSPL", "snp": "snpSPL",
    "microcode": "ucodeSPL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


# Bytes that are answered instead, or what is done with the connection.
Fault = bytes | Callable[[ssl.SSLSocket], object]


class FakeEndorsers:
    """All services on one port, each below its own path. A double: it keeps what it was asked.

    Attributes:
        shelf: Path and query to the whole answer.
        asked: Every request, in the order in which they came.
        faults: Done one after the other before anything is answered from the shelf.
        hold: Where set, each answer waits for it.
    """

    def __init__(self, authority: VaultAuthority, *, at: int, host: str = "localhost") -> None:
        """Take who certifies it, and the instant at which it stands."""
        self.at: Final = at
        self.shelf: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.hold: threading.Event | None = None
        self._responders: list[tuple[SimulatedNvidia, SimulatedGpu]] = []
        self._guard = threading.Lock()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads chains from files only
            pem = Path(folder) / "server.pem"
            pem.write_bytes(authority.certify(host))
            self._context.load_cert_chain(pem)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._ended = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def sources(self) -> list[str]:
        """The services' addresses, as `--source` takes them."""
        base = f"https://localhost:{self.port}"
        paths = {
            "intel": "/intel",
            "intel-root-crl": "/root.der",
            "amd": "/amd",
            "nvidia-rim": "/v1/rim",
            "nvidia-ocsp": "/ocsp",
        }
        return [f"{name}={base}{path}" for name, path in paths.items()]

    def intel(self, minted: Minted, *, ca: str = "platform", pccs: bool = False) -> None:
        """Take a platform's collateral; a PCCS gives lists as hexadecimal text."""
        bundle = minted.bundle
        info = json.loads(bundle["tcb_info"])
        tee, model = info["id"].lower(), info["fmspc"].upper()
        base = "/intel/{}/certification/v4"
        self.shelf[f"{base.format(tee)}/tcb?fmspc={model}"] = self._statement(
            bundle, "tcb_info", "tcbInfo", "TCB-Info-Issuer-Chain"
        )
        self.shelf[f"{base.format(tee)}/qe/identity"] = self._statement(
            bundle, "qe_identity", "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain"
        )
        chain = urllib.parse.quote(bundle["pck_crl_issuer_chain"])
        lists = [
            bundle[name].encode() if pccs else bytes.fromhex(bundle[name])
            for name in ("pck_crl", "root_ca_crl")
        ]
        self.shelf[f"{base.format('sgx')}/pckcrl?ca={ca}&encoding=der"] = http_answer(
            200, lists[0], f"SGX-PCK-CRL-Issuer-Chain: {chain}"
        )
        self.shelf["/root.der"] = http_answer(200, lists[1])

    def amd(self, amd: SimulatedAmd, chip: SimulatedChip) -> None:
        """Take a chip's certificates; a VLEK's own is not given out."""
        base = f"/amd/{chip.kind.lower()}/v1/{chip.product}"
        self.shelf[f"{base}/cert_chain"] = http_answer(200, amd.chain(chip.kind))
        self.shelf[f"{base}/crl"] = http_answer(200, amd.revocations())
        if chip.kind == "VCEK":
            length = 8 if chip.product == "Turin" else 64
            query = "&".join(
                f"{parameter}={chip.tcb[part]:02}"
                for part, parameter in _AMD_NAMES.items()
                if part in chip.tcb
            )
            target = f"{base}/{chip.chip_id[:length].hex()}?{query}"
            self.shelf[target] = http_answer(200, chip.certificate)

    def nvidia(self, maker: SimulatedNvidia, gpu: SimulatedGpu) -> None:
        """Take a GPU's manifests, and answer about its certificates."""
        vbios = gpu.vbios_version.replace(".", "")
        names = (
            f"NV_GPU_DRIVER_{gpu.chip}_{gpu.driver_version}",
            f"NV_GPU_VBIOS_{'_'.join(BOARD)}_{vbios}",
        )
        for name, rim in zip(names, maker.rims(gpu), strict=True):
            said = {"id": name, "rim": base64.b64encode(rim.body).decode()}
            self.shelf[f"/v1/rim/{name}"] = http_answer(200, json.dumps(said).encode())
        self._responders.append((maker, gpu))

    def targets(self) -> list[str]:
        """Return what was asked for."""
        with self._guard:
            return [each.target for each in self.asked]

    def __enter__(self) -> FakeEndorsers:
        """Start listening."""
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @staticmethod
    def _statement(bundle: Mapping[str, str], name: str, member: str, header: str) -> bytes:
        body = f'{{"{member}":{bundle[name]},"signature":"{bundle[f"{name}_signature"]}"}}'
        chain = urllib.parse.quote(bundle[f"{name}_issuer_chain"])
        return http_answer(
            200, body.encode(), "Content-Type: application/json", f"{header}: {chain}"
        )

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        plain.settimeout(_TIMEOUT_S)
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                asked = _read(connection)
                if asked is None:
                    return
                with self._guard:
                    self.asked.append(asked)
                    fault = self.faults.pop(0) if self.faults else None
                if self.hold is not None:
                    self.hold.wait(_TIMEOUT_S)
                if callable(fault):
                    fault(connection)
                    return
                connection.sendall(self._answer(asked) if fault is None else fault)
                connection.unwrap()
        except OSError:
            plain.close()

    def _answer(self, asked: Asked) -> bytes:
        if asked.target == "/ocsp" and asked.method == "POST":
            for maker, gpu in self._responders:
                said = maker.ocsp_answer(gpu, asked.body)
                if said is not None:
                    return http_answer(200, said, "Content-Type: application/ocsp-response")
        return self.shelf.get(asked.target, http_answer(404, b"not found"))


def _read(connection: ssl.SSLSocket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(_READ_BYTES)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(_READ_BYTES)
    return Asked(method, target, headers, body)


def main(folder: Path) -> None:
    """Write a TD's quote and how to reach its manufacturer, and serve while the parent lives."""
    at = int(time.time())  # noqa: TID251  # the edge
    authority, intel = VaultAuthority(at=at), SimulatedIntel(b"guide", at=at)
    minted = intel.mint(IntelCase("tdx5"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quote.bin").write_bytes(minted.quote)
    (folder / "authority.pem").write_bytes(authority.pem)
    (folder / "root").write_text(f"sha256:{intel.anchor.hex()}\n")
    parent = os.getppid()
    with FakeEndorsers(authority, at=at) as endorsers:
        endorsers.intel(minted)
        unfinished = folder / "sources.unfinished"
        unfinished.write_text(" ".join(endorsers.sources) + "\n")
        unfinished.replace(folder / "sources")
        while os.getppid() == parent:
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
