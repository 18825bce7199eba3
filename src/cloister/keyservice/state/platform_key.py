"""The state key, sealed in a slot of the backend for one platform and nobody else.

Invariants:
    1. A platform that has seen a generation of its slot opens none of an older one: whoever has an
       older state key cannot bring it back by bringing back the slot.
    2. Which keys are retired is told in plain, for a refusal that says why. Nothing is believed of
       it: a retired key opens nothing that was sealed since.

Spec: keyservice-state-v1, clauses KS-70, KS-73 and KS-74.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from cloister.crypto.aead import KEY_BYTES, NONCE_BYTES, TAG_BYTES, AEADKey
from cloister.errors import CloisterError, ReleaseDeniedError, TamperedError
from cloister.keyservice.state.backend import Backend
from cloister.keyservice.state.record import StateKey
from cloister.tee.sim.platform import MonotonicCounter, SimPlatform

__all__ = [
    "PlatformKey",
    "require_not_retired",
    "retired_slots",
    "seal_next_state_key",
    "seal_state_key",
    "slots_after",
    "unseal_older_state_key",
    "unseal_state_key",
]

KEY_COUNTER: Final = "keyservice-key"
_KEY_PURPOSE: Final = b"cloister/keyservice/v1/state-key"
_KEY_SLOTS: Final = "state-key/"
_RETIRED_SLOTS: Final = "retired-key/"
_GENERATION_BYTES: Final = 8
_SEALED_BYTES: Final = NONCE_BYTES + KEY_BYTES + TAG_BYTES

Slot = tuple[str, bytes]


def seal_state_key(key: StateKey, platform: SimPlatform) -> Slot:
    """Return the slot from which this platform, and no other, unseals the state key."""
    with _counter(platform) as counter:
        return _sealed(key, platform, counter.read())


def seal_next_state_key(key: StateKey, platform: SimPlatform) -> Slot:
    """Return the slot that takes the place of this platform's, once `unseal_state_key` saw it."""
    with _counter(platform) as counter:
        return _sealed(key, platform, counter.read() + 1)


class PlatformKey:
    """A platform's slot of one backend, which may be replaced while a replica runs."""

    def __init__(self, backend: Backend, platform: SimPlatform) -> None:
        """Nothing is read yet."""
        self._backend = backend
        self._platform = platform
        self._generation = 0

    @property
    def generation(self) -> int:
        """That of the key that `unlock` returned last."""
        return self._generation

    def newest(self) -> int:
        """Return the newest generation that this platform has seen."""
        with _counter(self._platform) as counter:
            return counter.read()

    def unlock(self) -> StateKey:
        """Unseal the state key; from then on no older slot opens.

        Raises:
            TamperedError: There is none for this platform (`state.tampered`), none since the key
                was changed (`state.key-changed`), or an older one than was seen
                (`state.rolled-back`).
        """
        key, self._generation = _newest(self._backend, self._platform)
        return key


def unseal_state_key(backend: Backend, platform: SimPlatform) -> StateKey:
    """Unseal the state key of a backend once, as `PlatformKey.unlock` does."""
    return _newest(backend, platform)[0]


def _newest(backend: Backend, platform: SimPlatform) -> tuple[StateKey, int]:
    with _counter(platform) as counter:
        expected = counter.read()
        key, generation = _unsealed(backend, platform)
        if generation < expected:
            raise TamperedError(
                "the key service's state is under a key that was changed since",
                code="state.rolled-back",
                detail=f"slot {generation}, the platform has seen {expected}",
                hint="put the newest state back; if it is lost, going back needs approvals: "
                "cloister keyservice reset --help",
            )
        if generation > expected:
            counter.raise_to(generation)
    return key, generation


def unseal_older_state_key(backend: Backend, platform: SimPlatform) -> StateKey:
    """Unseal the state key of a backend that may be under an older key: for a reset only.

    Raises:
        TamperedError: As `unseal_state_key`, but for what is older.
    """
    return _unsealed(backend, platform)[0]


def slots_after(slots: Iterable[Slot], retired: StateKey, *, new: Slot) -> tuple[Slot, ...]:
    """Return the slots of a state whose key was changed: one platform has the new key."""
    kept = [slot for slot in slots if not slot[0].startswith(_KEY_SLOTS)]
    return (*kept, (_RETIRED_SLOTS + retired.name.hex(), b""), new)


def retired_slots(slots: Iterable[Slot]) -> Iterator[Slot]:
    """Return those of the slots that say which keys are retired."""
    return (slot for slot in slots if slot[0].startswith(_RETIRED_SLOTS))


def require_not_retired(backend: Backend, key: StateKey) -> StateKey:
    """Return the key, unless the backend says that it was changed since.

    Raises:
        ReleaseDeniedError: It was (`recovery.superseded`).
    """
    if backend.slot(_RETIRED_SLOTS + key.name.hex()) is not None:
        raise ReleaseDeniedError(
            "this is a state key that was changed since",
            code="recovery.superseded",
            hint="use the shares, or the grant, that were made after the change",
        )
    return key


def _sealed(key: StateKey, platform: SimPlatform, generation: int) -> Slot:
    number = _number(generation)
    sealing = AEADKey(platform.sealing_key(_KEY_PURPOSE))
    return _slot(platform), number + sealing.seal_random(key.to_secret(), number)


def _unsealed(backend: Backend, platform: SimPlatform) -> tuple[StateKey, int]:
    found = backend.slot(_slot(platform))
    if found is None:
        raise _missing(backend)
    number = found[: max(0, len(found) - _SEALED_BYTES)]
    generation = int.from_bytes(number, "big")
    error = _unopened("state key")
    if number != _number(generation):
        raise error
    sealing = AEADKey(platform.sealing_key(_KEY_PURPOSE))
    secret = sealing.open_random(found[len(number) :], number, error=error)
    return StateKey(secret), generation


def _number(generation: int) -> bytes:
    """The first generation has no number in front of it: it is older than numbers are."""
    return generation.to_bytes(_GENERATION_BYTES, "big") if generation else b""


def _missing(backend: Backend) -> CloisterError:
    if any(True for _ in retired_slots(backend.slots())):
        return TamperedError(
            "the state key was changed on another platform, which alone has the new one",
            code="state.key-changed",
            hint="have this platform admitted again: cloister keyservice platform --help",
        )
    return _unopened("no state key for this platform")


def _unopened(detail: str) -> TamperedError:
    return TamperedError(
        "this platform cannot unseal the key service's state", code="state.tampered", detail=detail
    )


def _counter(platform: SimPlatform) -> contextlib.closing[MonotonicCounter]:
    return contextlib.closing(platform.counter(KEY_COUNTER))


def _slot(platform: SimPlatform) -> str:
    return f"{_KEY_SLOTS}{platform.anchor.text}"
