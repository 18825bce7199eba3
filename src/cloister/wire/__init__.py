"""Canonical bytes and strict readers; knows no meaning.

Example::

    from cloister.wire import decode, encode

    assert decode(encode({"a": 1}), max_bytes=64) == {"a": 1}
"""

from cloister.wire.cbor import Value, decode, encode
from cloister.wire.fields import Fields

__all__ = ["Fields", "Value", "decode", "encode"]
