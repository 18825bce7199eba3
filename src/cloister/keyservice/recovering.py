"""Split a key service's state key among holders, and bring the service back on a new platform.

Invariants:
    1. The key is split only by a plan that the root's approvers signed, and the log says so first.
    2. Neither the key nor an open share touches a disk: shares are sealed to their holders, then by
       a holder to the platform that recovers, which combines them in memory.
    3. A recovered key opens a backup only together with a reset that the root's approvers signed.

Spec: keyservice-recovery-v1, clauses BR-20 to BR-31.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import ConfigError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.governance import governing
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.new_file import write_new_file
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.recovery_request import RecoveryRequest
from cloister.keyservice.recovery_shares import SealedShare, combine, split
from cloister.keyservice.rekey import require_since_change
from cloister.keyservice.reset import Reset, require_approved
from cloister.keyservice.restoring import Place, reset
from cloister.keyservice.state.backend import Backend
from cloister.keyservice.state.key_rows import key_change
from cloister.keyservice.state.platform_key import require_not_retired
from cloister.keyservice.state.record import Head, StateKey
from cloister.keyservice.upgrading import event, upgrade
from cloister.tee.sim.platform import SimPlatform

__all__ = ["make_shares", "prepare_platform", "recover"]

_FACTS: Final = "domain.json"


def make_shares(
    place: Place,
    plan: RecoveryPlan,
    approvals: Sequence[Approval],
    holders: Sequence[HPKEPublicKey],
    *,
    into: Path,
    at: int,
) -> tuple[Path, ...]:
    """Split the state key, and write one share for each holder into a new folder.

    An embedded state must not be served meanwhile.

    Args:
        place: Where the state is.
        plan: Untrusted.
        approvals: Untrusted.
        holders: Their public keys, in the plan's order.
        into: Must not exist.
        at: Now.

    Raises:
        ConfigError: The folder exists, or these are not the plan's holders.
        ReleaseDeniedError: It is another service's plan, from before the state key was changed
            (`approval.invalid`), or not approved (`approval.*`).
        UnavailableError: A service has the state open, or the state cannot be written.
        TamperedError: The state does not open.
    """
    plan.require_keys(holders)
    if into.exists():
        raise ConfigError(f"{into} exists already", code="config.exists")
    with contextlib.closing(place.open()) as store:
        secrets = store.secrets()
        if plan.service != SigningKey(secrets.signing_seed).public:
            raise ReleaseDeniedError(
                "the approved plan is of another key service", code="approval.invalid"
            )
        governance = governing(ROOT, store.tenancy, founder=secrets.owner)
        require_since_change(key_change(store.tables), plan.at)
        require_approved(plan.subject, approvals, governance=governance, at=at)
        shares = split(store.key, plan, holders)
        store.commit_to_log()
        upgrade(store, at=at)
        with store.transaction():
            subject = f"{plan.threshold} of {len(plan.holders)}"
            store.append(event("state.split", subject=subject, evidence=plan.subject.hash, at=at))
        return _write(shares, into)


def _write(shares: Sequence[SealedShare], into: Path) -> tuple[Path, ...]:
    try:
        into.mkdir(mode=0o700)
    except OSError as e:
        raise ConfigError(f"cannot make {into}: {e.strerror}", code="config.file") from e
    paths = tuple(into / f"share-{share.facts.index + 1}" for share in shares)
    for path, share in zip(paths, shares, strict=True):
        write_new_file(path, share.to_bytes())
    return paths


def prepare_platform(domain: TrustDomain, directory: Path) -> VerifyingKey:
    """Make a new platform for a domain's service in a new folder; returns the platform's key.

    All of the folder is there afterwards, or nothing of it.

    Raises:
        ConfigError: The folder exists, or cannot be made.
    """
    if directory.exists():
        raise ConfigError(f"{directory} exists already", code="config.exists")
    with ExitStack() as undo:
        try:
            building = Path(tempfile.mkdtemp(prefix=".cloister-platform-", dir=directory.parent))
            undo.callback(shutil.rmtree, building, ignore_errors=True)
            shutil.copyfile(domain.directory / _FACTS, building / _FACTS)
            (building / "keyservice").mkdir(mode=0o700)
        except OSError as e:
            raise ConfigError(f"cannot make {directory}: {e.strerror}", code="config.file") from e
        platform = SimPlatform.create(
            building / "platform", svn=domain.service.minimum_svn, debug=False
        )
        building.replace(directory)
        undo.pop_all()
    return platform.anchor


def recover(
    path: Path,
    place: Place,
    request: RecoveryRequest,
    *,
    shares: Sequence[SealedShare],
    statement: Reset,
    approvals: Sequence[Approval],
    at: int,
) -> Head:
    """Bring a service back from a backup and its holders' shares, on the platform that asked.

    Args:
        path: The backup.
        place: Has no state.
        request: This platform's own.
        shares: Untrusted; given to the request.
        statement: Untrusted; the reset that was approved for this platform.
        approvals: Untrusted.
        at: Now.

    Raises:
        ReleaseDeniedError: Shares that do not give a key, or that of a state key which was changed
            before the backup was made (`recovery.*`), or a reset that was not approved
            (`approval.*`).
        TamperedError: The backup is another key's, or was changed (`state.tampered`).
        ConfigError: There is a state already (`config.exists`).
    """
    key = combine(shares, request, request.private_key(place.platform))

    def unlock(backend: Backend) -> StateKey:
        return require_not_retired(backend, key)

    return reset(path, place, statement, approvals, unlock=unlock, at=at)
