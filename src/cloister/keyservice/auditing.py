"""Keep a mirror of the log, and check it offline.

`fetch` lets a mirror grow only by what provably extends it. `verify` believes nothing but the
pinned key: it recomputes the tree from the mirror's leaves, in one pass, and compares it with all
that was ever signed and is at hand: the newest checkpoint, older ones, receipts, cosignatures.

Spec: release-log-v1, clauses RL-32 and RL-50 to RL-56.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from cloister.crypto.digest import same_bytes
from cloister.errors import (
    LogForkedError,
    LogRolledBackError,
    LogTruncatedError,
    TamperedError,
)
from cloister.keyservice import merkle
from cloister.keyservice.cosigning import Cosignature, Quorum
from cloister.keyservice.log import (
    Checkpoint,
    LogEntry,
    Receipt,
    StateCommitment,
    read_leaf,
    verify_extension,
    verify_receipt,
)
from cloister.keyservice.mirror import Mirror, MirrorWriter
from cloister.keyservice.nodes import new_nodes, node_position, prove_consistency
from cloister.keyservice.notes import MAX_NOTE_BYTES, Note
from cloister.keyservice.owner_replies import LogPage
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.witnessing import WitnessCircle

__all__ = [
    "MAX_PAGE",
    "Audit",
    "Evidence",
    "Fetched",
    "LogReader",
    "cosign",
    "fetch",
    "read_leaves",
    "verify",
]

MAX_PAGE: Final = 1000

Progress = Callable[[int, int], None]
"""Called with how many leaves are done, and how many there are."""


class LogReader(Protocol):
    """Reads the log of one key service; the notes that it returns are the pinned service's."""

    def read_log_page(self, *, first: int, count: int, old_size: int) -> LogPage:
        """Return leaves, the newest checkpoint, and the proof that it extends `old_size`."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch did: the mirror's size before and after."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a reader has from elsewhere to hold against a mirror.

    Attributes:
        notes: Checkpoints that were kept earlier.
        receipts: Receipts that releases came with.
        quorum: Which witnesses must have cosigned the newest checkpoint.
    """

    notes: Sequence[str] = ()
    receipts: Sequence[Receipt] = ()
    quorum: Quorum = Quorum((), 0)  # noqa: RUF009  # immutable


@dataclass(frozen=True, slots=True)
class Audit:
    """A mirror that holds.

    Attributes:
        checkpoint: The newest.
        granted: Decisions that were yes.
        refused: Decisions that were no.
        states: Commitments to changes of the service's state.
        cosignatures: Of the newest checkpoint, by the quorum's witnesses.
    """

    checkpoint: Checkpoint
    granted: int
    refused: int
    states: int
    cosignatures: tuple[Cosignature, ...]


def fetch(
    mirror: MirrorWriter, log: LogReader, *, service: PinnedService, progress: Progress
) -> Fetched:
    """Let a mirror grow to the service's newest checkpoint.

    It may be interrupted at any moment: what was fetched is used by the next call.

    Raises:
        LogRolledBackError: The service's newest checkpoint is older than the mirrored one.
        LogForkedError: It is not an extension of the mirrored one.
        LogTruncatedError: The mirror lacks leaves, or the service gives fewer than it signed for.
        TamperedError: The mirror's leaves, or those that came, are not those that were signed for
            (`log.proof`). What came is dropped.
        CloisterError: By the transport or the service.

    Spec: RL-32.
    """
    old = _mirrored(mirror, service)
    tree = _replayed(mirror, old, progress)
    mirror.keep(tree.size)
    page = _newest(log, old)
    target = page.checkpoint
    if tree.size > target.size:
        mirror.keep(old.size)
        tree = _replayed(mirror, old, progress)
    progress(tree.size, target.size)
    while tree.size < target.size:
        count = min(MAX_PAGE, target.size - tree.size)
        leaves = log.read_log_page(first=tree.size, count=count, old_size=0).leaves
        if not leaves:
            raise LogTruncatedError(
                f"the key service signed for {target.size} entries and gives {tree.size}",
                code="log.truncated",
            )
        for leaf in leaves:
            read_leaf(leaf)
            tree.append(leaf)
        mirror.append(leaves)
        progress(tree.size, target.size)
    if not same_bytes(tree.root(), target.root):
        mirror.keep(old.size)
        raise TamperedError(
            "the entries that came are not those that the key service signed for",
            code="log.proof",
            hint="they were dropped; fetch again",
        )
    mirror.put_note(_with_kept_lines(mirror, page.note))
    return Fetched(old.size, target.size)


def cosign(mirror: MirrorWriter, circle: WitnessCircle, *, service: PinnedService) -> Checkpoint:
    """Have a mirror's newest checkpoint cosigned, and keep the witnesses' lines with it.

    Whoever keeps a mirror can do that without the service: a witness asks who signed, not who sent.

    Raises:
        UnavailableError: Too few witnesses cosigned (`keyservice.witnesses`); nothing is changed.
        CloisterError: The mirror does not hold, as from `verify`.

    Spec: RL-44.
    """
    text = mirror.note()
    newest = _checkpoint(text, service)
    _replayed(mirror, newest, lambda _done, _total: None)
    nodes = _nodes_of(mirror, newest.size)

    def prove(old: int) -> tuple[bytes, ...]:
        return prove_consistency(
            old, newest.size, lambda level, index: nodes[node_position(level, index)]
        )

    mirror.put_note(circle.cosign(text, prove))
    return newest


def verify(
    mirror: Mirror, *, service: PinnedService, evidence: Evidence, progress: Progress
) -> Audit:
    """Establish that a mirror is the pinned service's log, whole, unchanged and not put back.

    Args:
        mirror: Untrusted, and so is all of `evidence` but the quorum's keys.
        service: Pinned.
        evidence: What to hold against it; an empty quorum requires no witness.
        progress: Called now and then.

    Raises:
        MalformedError: Something does not parse.
        IdentityError: A checkpoint is not the pinned service's (`identity.keyservice`).
        LogTruncatedError: Leaves are missing (`log.truncated`).
        TamperedError: A leaf was changed, or a receipt's proof does not hold (`log.proof`).
        LogRolledBackError: An older checkpoint is larger, or the service's state was put back
            (`log.rolled-back`).
        LogForkedError: An older checkpoint is of another log (`log.forked`).
        WitnessError: Too few witnesses (`log.witnesses`).

    Spec: RL-50 to RL-56, in this order.
    """
    text = mirror.note()
    newest = _checkpoint(text, service)
    notes = [*evidence.notes, *(receipt.checkpoint for receipt in evidence.receipts)]
    older = [_checkpoint(note, service) for note in notes]
    roots = _roots_of(mirror, newest, {each.size for each in older}, progress)
    for each in older:
        if each.size > newest.size:
            raise LogRolledBackError(
                f"the log has {newest.size} entries and had {each.size} before",
                code="log.rolled-back",
                hint="fetch it again; if it stays smaller, it was put back",
            )
        if not same_bytes(roots[each.size], each.root):
            raise _forked(each.size)
    for receipt in evidence.receipts:
        verify_receipt(receipt, service=service.identity, origin=service.origin)
    counts = _count(read_leaves(mirror, newest.size), newest.size, progress)
    cosignatures = evidence.quorum.require(Note.from_text(text))
    return Audit(newest, *counts, cosignatures)


def read_leaves(mirror: Mirror, size: int) -> Iterator[LogEntry | StateCommitment]:
    """Yield the first `size` leaves of a mirror that `verify` has accepted."""
    return (read_leaf(leaf) for leaf in islice(mirror.leaves(), size))


class _Tree:
    """A growing tree: its size and peaks."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> None:
        self._peaks = merkle.append(self._peaks, self.size, merkle.leaf_hash(leaf))
        self.size += 1

    def root(self) -> bytes:
        return merkle.root_of_peaks(self._peaks)


def _checkpoint(note: str, service: PinnedService) -> Checkpoint:
    return Checkpoint.from_note(note, service=service.identity, origin=service.origin)


def _mirrored(mirror: MirrorWriter, service: PinnedService) -> Checkpoint:
    """Return the mirrored checkpoint; of a new mirror, the one of the empty log."""
    if mirror.is_new:
        return Checkpoint(service.origin, 0, merkle.EMPTY_ROOT)
    return _checkpoint(mirror.note(), service)


def _replayed(mirror: Mirror, old: Checkpoint, progress: Progress) -> _Tree:
    """Return the tree of the mirror's leaves, of which the first must give `old`.

    Behind those lies what an interrupted fetch left; it is used up to where it is damaged.
    """
    tree, leaves = _Tree(), mirror.leaves()
    for leaf in islice(leaves, old.size):
        tree.append(leaf)
        if tree.size % MAX_PAGE == 0:
            progress(tree.size - 1, old.size)
    if tree.size < old.size:
        raise _truncated(tree.size, old.size)
    _require_root(tree, old)
    with contextlib.suppress(TamperedError):
        for leaf in leaves:
            tree.append(leaf)
    return tree


def _require_root(tree: _Tree, checkpoint: Checkpoint) -> None:
    if not same_bytes(tree.root(), checkpoint.root):
        raise _changed()


def _newest(log: LogReader, old: Checkpoint) -> LogPage:
    """Return the service's newest checkpoint, proved to extend the mirrored one."""
    page = log.read_log_page(first=0, count=0, old_size=0)
    if page.checkpoint.size < old.size:
        raise LogRolledBackError(
            f"the key service's log has {page.checkpoint.size} entries and had {old.size} before",
            code="log.rolled-back",
            hint="keep this mirror: it is the proof",
        )
    if not old.size:
        return page
    page = log.read_log_page(first=0, count=0, old_size=old.size)
    try:
        verify_extension(old, page.checkpoint, page.consistency)
    except TamperedError as e:
        raise _forked(old.size) from e
    return page


def _with_kept_lines(mirror: MirrorWriter, text: str) -> str:
    """Return a note with the witnesses' lines that the mirror has for the same checkpoint."""
    if mirror.is_new:
        return text
    note, kept = Note.from_text(text), Note.from_text(mirror.note())
    if note.body != kept.body:
        return text
    more = tuple(line for line in kept.lines if line not in note.lines)
    merged = Note(note.body, (*note.lines, *more)).to_text()
    return merged if len(merged.encode()) <= MAX_NOTE_BYTES else text


def _nodes_of(mirror: Mirror, size: int) -> list[bytes]:
    """Return the complete nodes of the tree of the first leaves, by `node_position`."""
    nodes: list[bytes] = []
    peaks: tuple[bytes, ...] = ()
    for number, leaf in enumerate(islice(mirror.leaves(), size)):
        found = merkle.leaf_hash(leaf)
        nodes += (node.hash for node in new_nodes(number, found, peaks))
        peaks = merkle.append(peaks, number, found)
    return nodes


def _roots_of(
    mirror: Mirror, newest: Checkpoint, sizes: set[int], progress: Progress
) -> dict[int, bytes]:
    """Recompute the newest root from the leaves; return the roots of the trees of `sizes`."""
    tree = _Tree()
    roots = {0: tree.root()}
    for leaf in islice(mirror.leaves(), newest.size):
        tree.append(leaf)
        if tree.size in sizes:
            roots[tree.size] = tree.root()
        if tree.size % MAX_PAGE == 0:
            progress(tree.size // 2, newest.size)
    if tree.size < newest.size:
        raise _truncated(tree.size, newest.size)
    _require_root(tree, newest)
    return roots


def _count(
    leaves: Iterator[LogEntry | StateCommitment], size: int, progress: Progress
) -> tuple[int, int, int]:
    """Read each leaf; the second half of verifying, as `_roots_of` is the first."""
    granted = refused = states = 0
    sequence = -1
    for number, leaf in enumerate(leaves):
        if number % MAX_PAGE == 0:
            progress((size + number) // 2, size)
        if isinstance(leaf, LogEntry):
            granted, refused = granted + leaf.granted, refused + (not leaf.granted)
            continue
        states += 1
        if leaf.sequence <= sequence:
            raise LogRolledBackError(
                f"the key service's state was put back: change {leaf.sequence} is in the log "
                f"after change {sequence}",
                code="log.rolled-back",
            )
        sequence = leaf.sequence
    progress(size, size)
    return granted, refused, states


def _truncated(found: int, size: int) -> LogTruncatedError:
    return LogTruncatedError(
        f"the mirror has {found} entries and its checkpoint says {size}", code="log.truncated"
    )


def _forked(size: int) -> LogForkedError:
    return LogForkedError(
        f"the log does not extend the one of {size} entries that was signed before",
        code="log.forked",
        hint="keep both checkpoints: they are the proof",
    )


def _changed() -> TamperedError:
    return TamperedError(
        "the mirror's entries are not those that its checkpoint was signed for", code="log.proof"
    )
