"""Payloads that run code, or more than they seem, in the loaders that they are made for.

Each that runs code would append a line to the file named by `CANARY`, when its own loader is given
it. No loader of ours is one of those.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import marshal
import os
import pickle  # noqa: TID251  # to make what must not be loaded
import pickletools
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["CANARY", "live_pickles", "payloads"]

CANARY = "CLOISTER_TEST_CANARY"
_CODE = f"import os; open(os.environ[{CANARY!r}], 'a').write('ran\\n')"


class _Runs:
    """What pickles as a call of `exec`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_CODE,)


class _Builds:
    """What pickles as a call with state behind it."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return os.system, ("echo ran >> $" + CANARY,)


def live_pickles() -> Iterator[tuple[str, bytes]]:
    """Yield pickles that run code, in every protocol."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle protocol {protocol}", pickle.dumps(_Runs(), protocol)
        yield f"pickle of a shell, protocol {protocol}", pickle.dumps([_Builds()], protocol)
    yield "pickle, optimized", pickletools.optimize(pickle.dumps(_Runs(), 4))
    yield "pickle in a dict", pickle.dumps({"kind": "model", "fields": {"model": _Runs()}}, 4)
    yield "pickle by hand", b"cbuiltins\nexec\n(V" + _CODE.encode() + b"\ntR."
    yield "pickle by hand, instance", b"(V" + _CODE.encode() + b"\nibuiltins\nexec\n."


def _archived(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield archives with one file, as models come in them."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(name, data)
    yield f"zip with {name}", zipped.getvalue()
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive_of_tar:
        info = tarfile.TarInfo(f"../../{name}")
        info.size = len(data)
        archive_of_tar.addfile(info, io.BytesIO(data))
    yield f"tar with ../../{name}", tarred.getvalue()


def _numpy() -> Iterator[tuple[str, bytes]]:
    """Yield NumPy's own files."""
    objects = np.empty(1, object)
    objects[0] = _Runs()
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    yield "npy with objects", file.getvalue()
    file = io.BytesIO()
    np.savez(file, x=objects)
    yield "npz with objects", file.getvalue()
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    yield "npy without objects", file.getvalue()
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': (exec({_CODE!r}),)}}"
    body = header.encode().ljust(246) + b"\n"
    yield (
        "npy with a call in its header",
        b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body,
    )
    yield "array of objects by its buffer", objects.tobytes()


def _models() -> Iterator[tuple[str, bytes]]:
    """Yield models with code in them."""
    code = base64.b64encode(marshal.dumps(compile(_CODE, "x", "exec"))).decode()
    function = {"class_name": "__lambda__", "config": {"code": code, "defaults": None}}
    keras = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "layers": [
                {"module": "keras.layers", "class_name": "Lambda", "config": {"function": function}}
            ]
        },
    }
    text = json.dumps(keras).encode()
    yield "keras configuration with a lambda", text
    yield from _archived("config.json", text)
    named = {"module": "builtins", "class_name": "exec", "config": _CODE, "registered_name": "exec"}
    yield "keras configuration with a class", json.dumps(named).encode()
    yield "torch script", b"PK\x03\x04" + b"archive/code/__torch__.py" + _CODE.encode()
    yield from _archived("archive/data.pkl", pickle.dumps(_Runs(), 2))
    yield "tensorflow graph", b"\x0a\x10\x0a\x06pyfunc\x12\x06PyFunc" + _CODE.encode()
    yield "onnx with a custom operator", b"\x08\x08\x12\x04evil\x3a\x20" + _CODE.encode()
    yield "hdf5", b"\x89HDF\r\n\x1a\n" + text


def _others() -> Iterator[tuple[str, bytes]]:
    """Yield code and markup for other loaders, and what grows while it is read."""
    code = marshal.dumps(compile(_CODE, "x", "exec"))
    yield "marshal", code
    yield "pyc", b"\xa7\r\r\n" + bytes(12) + code
    yield "source", _CODE.encode()
    yield "expression", f"__import__('os').system('echo ran >> ${CANARY}')".encode()
    yield "yaml", f'!!python/object/apply:builtins.exec ["{_CODE}"]'.encode()
    yield "yaml with aliases", b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    yield "json with nan", b'{"a": NaN, "a": Infinity}'
    yield "shell", b"#!/bin/sh\necho ran >> $" + CANARY.encode()
    yield "elf", b"\x7fELF\x02\x01\x01" + bytes(57)
    yield "xml with entities", b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
    yield "gzip of much", gzip.compress(bytes(1 << 20))
    yield "zlib of much", zlib.compress(bytes(1 << 20))
    yield "bzip2 of much", bz2.compress(bytes(1 << 20))
    yield "xz of much", lzma.compress(bytes(1 << 20))
    yield "path", b"/etc/passwd"
    yield "url", b"http://169.254.169.254/latest/meta-data/"
    yield "format string", b"%n%n%n{0.__class__.__init__.__globals__}"
    yield "terminal", b"\x1b]0;x\x07\x1b[2J"
    yield "nothing", b"\0"


def _cbor() -> Iterator[tuple[str, bytes]]:
    """Yield CBOR that means more than it seems, to a lenient reader."""
    yield "cbor shared references", b"\xd8\x1c\x82\xd8\x1d\x00\xd8\x1d\x00"
    yield "cbor string references", b"\xd9\x01\x00\x82\x63aaa\xd8\x19\x00"
    yield "cbor regular expression", b"\xd8\x23\x68(a+)+b!!!"
    yield "cbor fraction", b"\xd8\x1e\x82\x01\x00"
    yield "cbor bignum", b"\xc2\x5a\x00\x0f\x42\x40" + b"\xff" * 1000
    yield "cbor decimal of great weight", b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01"
    yield "cbor date", b"\xc0\x74" + b"2026-01-01T00:00:00Z"
    yield "cbor array of 2^64 items", b"\x9b" + b"\xff" * 8
    yield "cbor text of 2^63 bytes", b"\x7b\x7f" + b"\xff" * 7
    yield "cbor nested", b"\x81" * 10_000 + b"\x00"
    yield "cbor nested maps", b"\xa1\x61a" * 5_000 + b"\x00"
    yield "cbor without an end", b"\x9f" * 1000
    yield "cbor nan", b"\xf9\x7e\x01"
    yield "cbor twice one key", b"\xa2\x61a\x01\x61a\x02"
    yield "cbor embedded", b"\xd8\x18\x58\x04\xd8\x1d\x00\x00"


def payloads() -> dict[str, bytes]:
    """Return all of them by their names."""
    found: dict[str, bytes] = {}
    for each in (live_pickles, _numpy, _models, _others, _cbor):
        found |= dict(each())
    return found
