"""The verdict of `cloister evidence verify` as a signed EAR, for those who cannot judge it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.cli import settings
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.verdict import Verdict
    from cloister.crypto.jose import TokenSigningKey

__all__ = ["Telling", "read_telling", "read_token_key", "token_key_files"]

LIFETIME_S: Final = 300
_MAX_KEY_BYTES: Final = 4096
_MAX_POLICY_BYTES: Final = 1 << 20
_MIN_NONCE, _MAX_NONCE = 8, 64
_BEGIN, _END = b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Telling:
    """How a verdict is told: all of it was checked before anything was judged.

    Attributes:
        key: The issuer's.
        out: The new file.
        issuer: Who signs.
        audience: For whom.
        nonce: The relying party's.
        policy: The evidence policy, or None.
    """

    key: TokenSigningKey
    out: Path
    issuer: str
    audience: str
    nonce: bytes
    policy: Path | None

    def tell(self, verdict: Verdict, *, kind: str, at: int) -> None:
        """Sign a verdict and write the token.

        Raises:
            MalformedError: The evidence says more than a token holds.
            ConfigError: The file exists, or cannot be made.
        """
        from cloister.attestation.ear_of_verdict import issue_verdict_ear
        from cloister.keyservice.new_file import write_new_file

        token = issue_verdict_ear(
            verdict,
            kind=kind,
            policy=None if self.policy is None else _digest(self.policy),
            key=self.key,
            issuer=self.issuer,
            audience=self.audience,
            nonce=self.nonce,
            at=at,
            lifetime_s=LIFETIME_S,
        )
        write_new_file(self.out, token.encode("ascii") + b"\n")


def read_telling(
    key: Path | None,
    *,
    out: Path | None,
    issuer: str,
    audience: str,
    nonce: bytes,
    policy: Path | None,
) -> Telling | None:
    """Read what the user says of the token that he wants; None where he wants none.

    Raises:
        ConfigError: He says a part of it only, or the key is none.
    """
    if key is None:
        if out is not None or issuer or audience:
            raise ConfigError("a token has a key that signs it: --ear", code="config.missing")
        return None
    if out is None or not issuer or not audience:
        raise ConfigError(
            "a token has a file, an issuer and an audience",
            code="config.missing",
            hint="--output, --ear-issuer, --ear-audience",
        )
    if not _MIN_NONCE <= len(nonce) <= _MAX_NONCE:
        raise ConfigError(
            f"a token answers a nonce of {_MIN_NONCE} to {_MAX_NONCE} bytes",
            code="config.missing",
            hint="--ear-nonce takes what the relying party gave out, or --nonce does",
        )
    return Telling(read_token_key(key), out, issuer, audience, nonce, policy)


def read_token_key(path: Path) -> TokenSigningKey:
    """Read a key that signs tokens, PKCS#8 in PEM, from a file of its owner's only.

    Raises:
        ConfigError: It is open to others, or no such key.
    """
    from cloister.crypto.jose import TokenSigningKey
    from cloister.tee.sim.platform import read_secret_file

    settings.hide_memory()
    lines = read_secret_file(path, max_bytes=_MAX_KEY_BYTES).strip().splitlines()
    try:
        if [lines[0], lines[-1]] != [_BEGIN, _END]:
            raise ValueError("not PEM")
        return TokenSigningKey.from_secret(_unwrapped(lines[1:-1]))
    except (MalformedError, ValueError, IndexError) as e:
        raise ConfigError(
            f"{path} is no key for tokens: Ed25519 or P-256, as PKCS#8 in PEM",
            code="config.file",
            hint="`cloister token new-key` makes one",
        ) from e


def token_key_files() -> tuple[bytes, bytes]:
    """Make a key for tokens; returns the secret as PEM, and the JWKS to pin."""
    import base64

    from cloister.crypto.jose import TokenSigningKey, jwks_document

    settings.hide_memory()
    key = TokenSigningKey.generate("EdDSA")
    text = base64.b64encode(key.to_secret())
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([_BEGIN, *lines, _END, b""]), jwks_document([key.public]) + b"\n"


def _unwrapped(lines: list[bytes]) -> bytes:
    import base64

    return base64.b64decode(b"".join(lines), validate=True)


def _digest(path: Path) -> bytes:
    from cloister.crypto.digest import sha256

    try:
        with path.open("rb") as file:
            return sha256(file.read(_MAX_POLICY_BYTES))
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
