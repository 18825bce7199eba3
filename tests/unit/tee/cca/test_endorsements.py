"""The platform's key as it comes."""

import json

import pytest

from cloister.attestation.evidence import Endorsement
from cloister.errors import MalformedError
from cloister.tee.cca.endorsements import KEY_MEDIA_TYPE, require_platform_key
from cloister.testing.manufacturers.cca import SimulatedCca

MAKER = SimulatedCca("endorsements")
JWK = json.loads(MAKER.key.body)


@pytest.mark.spec("CCA-7", "CCA-8")
def test_the_anchor_is_the_digest_of_the_key() -> None:
    """The key comes back with it."""
    key, anchor = require_platform_key([MAKER.key], [MAKER.anchor])
    assert (key.curve, anchor) == ("P-384", MAKER.anchor)


@pytest.mark.spec("CCA-7")
@pytest.mark.parametrize(
    "change",
    [
        {"kty": "RSA"},
        {"crv": "P-521"},
        {"crv": "P-256"},
        {"x": JWK["x"] + "="},
        {"x": JWK["x"][:-4]},
        {"x": "A" * 64},
        {"x": 1},
        {"d": "AA"},
        {"kid": "x"},
    ],
)
def test_other_keys_are_malformed(change: dict[str, object]) -> None:
    """Another kind, another curve, no point, a private part, a name."""
    body = json.dumps(JWK | change).encode()
    with pytest.raises(MalformedError) as caught:
        require_platform_key([Endorsement(KEY_MEDIA_TYPE, body)], [MAKER.anchor])
    assert caught.value.code == "endorsement.malformed"


@pytest.mark.spec("CCA-7")
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"kty":"EC","kty":"EC"}'])
def test_what_is_no_key_is_malformed(body: bytes) -> None:
    """JSON of other forms, or none."""
    with pytest.raises(MalformedError) as caught:
        require_platform_key([Endorsement(KEY_MEDIA_TYPE, body)], [MAKER.anchor])
    assert caught.value.code == "endorsement.malformed"


@pytest.mark.spec("CCA-7")
def test_a_shift_between_coordinates_is_malformed() -> None:
    """Both have the curve's length; one byte too many does not make up for one too few."""
    shifted = JWK | {"x": JWK["x"] + JWK["y"][:4], "y": JWK["y"][4:]}
    with pytest.raises(MalformedError):
        require_platform_key(
            [Endorsement(KEY_MEDIA_TYPE, json.dumps(shifted).encode())], [MAKER.anchor]
        )
