"""How the keys of a registered volume change: a newer one is added, older ones go. Pure rules.

Invariants:
    1. The newest key stays. Key epochs count up by one, for ever.
    2. No key goes that the anchored state is sealed under, as its writer told.
    3. No state is anchored that is sealed under a key that went.

Spec: key-release-v1, clauses KR-140 to KR-147.
"""

from __future__ import annotations

from dataclasses import replace

from cloister.crypto.keyring import FIRST_KEY_EPOCH, MAX_KEYS
from cloister.errors import ConfigError, MalformedError, ReleaseDeniedError
from cloister.keyservice.records import VolumeRecord
from cloister.wire import Value

__all__ = ["key_facts", "require_kept", "retire", "rotate"]


def rotate(record: VolumeRecord, epoch: int, key: bytes) -> VolumeRecord | None:
    """Return the record with a newer key, whose epoch is `epoch`; None where it has that already.

    Raises:
        ConfigError: Its keys are at another epoch (`config.value`).
        ReleaseDeniedError: It has as many keys as are kept (`quota.exceeded`).
    """
    if epoch == record.key_epoch and epoch > FIRST_KEY_EPOCH:
        return None
    if epoch != record.key_epoch + 1:
        raise ConfigError(
            f"the newest key of volume {record.id.hex()} has epoch {record.key_epoch}",
            code="config.value",
            hint=f"ask for epoch {record.key_epoch + 1}",
        )
    if len(record.older_keys) + 1 >= MAX_KEYS:
        raise ReleaseDeniedError(
            f"volume {record.id.hex()} has {MAX_KEYS} keys",
            code="quota.exceeded",
            hint="rekey it and retire the old ones",
        )
    older = (*record.older_keys, record.key)
    return replace(record, key=key, key_epoch=epoch, older_keys=older)


def retire(record: VolumeRecord, before: int) -> VolumeRecord | None:
    """Return the record without the keys of epochs below `before`; None where there are none.

    Raises:
        ReleaseDeniedError: The anchored state is sealed under one of them (`release.key-in-use`).
    """
    if before > record.oldest_key:
        raise ReleaseDeniedError(
            f"volume {record.id.hex()} is still sealed under its key of epoch {record.oldest_key}",
            code="release.key-in-use",
            hint="cloister volume rekey",
        )
    kept = record.keys.since(before).keys[:-1]
    return None if kept == record.older_keys else replace(record, older_keys=kept)


def require_kept(record: VolumeRecord, oldest_key: int) -> int:
    """Return the lowest key epoch of a state to be anchored, if that key is kept.

    Raises:
        ReleaseDeniedError: It was retired (`release.fenced`).
        MalformedError: It was never made.
    """
    if oldest_key < record.keys.oldest:
        raise ReleaseDeniedError(
            f"the key of epoch {oldest_key} of volume {record.id.hex()} was retired",
            code="release.fenced",
        )
    if oldest_key > record.key_epoch:
        raise MalformedError("a volume's key that was never made", code="message.malformed")
    return oldest_key


def key_facts(record: VolumeRecord) -> dict[str, Value]:
    """Say what may be known of a volume's keys; nothing where there was never but one."""
    if record.key_epoch == FIRST_KEY_EPOCH:
        return {}
    return {
        "key_epoch": record.key_epoch,
        "oldest_key_kept": record.keys.oldest,
        "oldest_key_used": record.oldest_key,
    }
