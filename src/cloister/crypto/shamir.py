"""Shamir's secret sharing as SLIP-39 writes it: k of n lists of words give a secret back.

The only importer of `shamir_mnemonic`. A share has a checksum, and the secret a digest, so that a
mistyped, foreign or missing share is noticed. Not for hostile timing: it runs rarely and alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from cloister.errors import CallerError, CloisterError

__all__ = ["MAX_SHARES", "combine_shares", "split_secret", "threshold_of"]

MAX_SHARES: Final = 16
_MIN_THRESHOLD: Final = 2
_OURS: Final = (0, 1, 1)  # work for a passphrase, of which there is none; one group of one


def split_secret(secret: bytes, *, threshold: int, count: int) -> list[str]:
    """Return `count` shares, of which any `threshold` give the secret back, and fewer nothing.

    Raises:
        CallerError: Not 2 <= threshold <= count <= 16: one share alone would be the secret.
    """
    if not _MIN_THRESHOLD <= threshold <= count <= MAX_SHARES:
        raise CallerError(
            f"{threshold} of {count} cannot be: 2 <= k <= n <= {MAX_SHARES}", code="caller.misuse"
        )
    # No passphrase: what protects a share is the key that it is sealed to.
    work, groups, _ = _OURS
    [shares] = generate_mnemonics(groups, [(threshold, count)], secret, iteration_exponent=work)
    return list(shares)


def threshold_of(share: str, *, error: CloisterError) -> int:
    """Return how many shares its set needs, or raise `error` where it is none of ours.

    A foreign share could ask for minutes of work: one that was not made here is refused first.
    """
    try:
        found = Share.from_mnemonic(share)
    except (MnemonicError, ValueError) as e:
        raise error from e
    if (found.iteration_exponent, found.group_threshold, found.group_count) != _OURS:
        raise error
    threshold: int = found.member_threshold
    return threshold


def combine_shares(shares: Sequence[str], *, error: CloisterError) -> bytes:
    """Return the secret of exactly as many shares as are needed, or raise `error`."""
    for share in shares:
        threshold_of(share, error=error)
    try:
        secret: bytes = combine_mnemonics(shares)
    except (MnemonicError, ValueError) as e:
        raise error from e
    return secret
