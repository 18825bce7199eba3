"""The state key, sealed in a slot of the backend for one platform and nobody else."""

from __future__ import annotations

from typing import Final

from cloister.crypto.aead import AEADKey
from cloister.errors import TamperedError
from cloister.keyservice.state.backend import Backend
from cloister.keyservice.state.record import StateKey
from cloister.tee.sim.platform import SimPlatform

__all__ = ["seal_state_key", "unseal_state_key"]

_KEY_PURPOSE: Final = b"cloister/keyservice/v1/state-key"
_KEY_SLOT: Final = "state-key"


def seal_state_key(key: StateKey, platform: SimPlatform) -> tuple[str, bytes]:
    """Return the slot from which this platform, and no other, unseals the state key."""
    sealing = AEADKey(platform.sealing_key(_KEY_PURPOSE))
    return _slot(platform), sealing.seal_random(key.to_secret(), b"")


def unseal_state_key(backend: Backend, platform: SimPlatform) -> StateKey:
    """Unseal the state key of a backend.

    Raises:
        TamperedError: It has none for this platform (`state.tampered`).
    """
    sealed = backend.slot(_slot(platform))
    wrong = TamperedError(
        "this platform cannot unseal the key service's state",
        code="state.tampered",
        detail="no state key for this platform" if sealed is None else "state key",
    )
    if sealed is None:
        raise wrong
    sealing = AEADKey(platform.sealing_key(_KEY_PURPOSE))
    return StateKey(sealing.open_random(sealed, b"", error=wrong))


def _slot(platform: SimPlatform) -> str:
    return f"{_KEY_SLOT}/{platform.anchor.text}"
