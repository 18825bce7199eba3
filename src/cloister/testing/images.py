"""Images and signed reference values for trying things out: no TD will ever run them.

`python3 -m cloister.testing.images firmware FILE` writes a firmware image with TDX metadata;
`python3 -m cloister.testing.images corim FILE KEY` a CoRIM about it, and the key that signed it.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import uuid
from pathlib import Path
from typing import Final

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.tee.tdx.firmware import TdxFirmware

__all__ = ["signed_corim", "tdx_firmware"]

_PAGE: Final = 4096
_TABLE: Final = "96b582de-1fb2-45f7-baea-a366c55a082d"
_METADATA: Final = "e47a6535-984a-4798-865e-4685a7bf8ec2"


def tdx_firmware(content: bytes = b"firmware") -> bytes:
    """Return an image of one page of firmware, with its temporary memory."""
    sections = struct.pack("<IIQQII", 0, _PAGE, 0xFFFFF000, _PAGE, 0, 1)
    sections += struct.pack("<IIQQII", 0, 0, 0x810000, 2 * _PAGE, 3, 0)
    metadata = b"TDVF" + struct.pack("<III", 16 + len(sections), 1, 2) + sections
    behind = len(metadata) + 22 + 18 + 32
    table = struct.pack("<IH", behind, 22) + uuid.UUID(_METADATA).bytes_le
    table += struct.pack("<H", 40) + uuid.UUID(_TABLE).bytes_le
    return content.ljust(_PAGE, b"\0") + metadata + table + bytes(32)


def signed_corim(seed: bytes, values: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Return a CoRIM of one state, with SHA-384 digests by claim, and the signer's key as PEM.

    Args:
        seed: What the signer's key is derived from.
        values: Claim to its digest, 48 bytes.
    """
    number = int.from_bytes(hashlib.sha384(b"cloister-testing-corim" + seed).digest()[:40]) + 1
    key = ec.derive_private_key(number, ec.SECP384R1())
    claims = [{0: name, 1: {2: [[7, value]]}} for name, value in values.items()]
    comid = {1: {0: "example"}, 4: {0: [[{0: {1: "Example", 2: "image"}}, claims]]}}
    body = {0: "example", 1: [cbor2.CBORTag(506, cbor2.dumps(comid))]}
    payload = cbor2.dumps(cbor2.CBORTag(501, body))
    header = {1: -35, 3: "application/rim+cbor", 8: cbor2.dumps({0: {0: "Example"}})}
    protected = cbor2.dumps(header)
    message = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA384())))
    signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    signed = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return signed, public


def main(words: list[str]) -> int:
    """Write what the words ask for."""
    if words[:1] == ["firmware"] and len(words) == 2:  # noqa: PLR2004  # a word and a file
        Path(words[1]).write_bytes(tdx_firmware())
        return 0
    if words[:1] == ["corim"] and len(words) == 3:  # noqa: PLR2004  # a word and two files
        image = TdxFirmware.from_bytes(tdx_firmware())
        values = {"measurement": image.mrtd("page"), "rtmr3": bytes(48)}
        file, key = signed_corim(b"guide", values)
        Path(words[1]).write_bytes(file)
        Path(words[2]).write_bytes(key)
        return 0
    sys.stderr.write(f"{__doc__}\n")
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
