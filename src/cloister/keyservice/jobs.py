"""The jobs of one store: reads members, and writes what `membership` decides.

Every change appends its log entry in the same transaction. Whoever reads a job through here sees
it without lapsed members: what has lapsed is taken out, durably, before anything else happens.

Spec: membership-v1, clauses MEM-1 to MEM-19.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes
from cloister.crypto.kdf import random_bytes
from cloister.keyservice import membership
from cloister.keyservice.leases import released
from cloister.keyservice.log import LogEntry
from cloister.keyservice.member_messages import not_a_member
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.membership import Admission, Departure
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.state import member_rows
from cloister.keyservice.store import Store
from cloister.wire import encode

__all__ = ["Jobs"]

_NO_DIGEST: Final = bytes(DIGEST_BYTES)


class Jobs:
    """Jobs and their members over one store."""

    def __init__(self, store: Store) -> None:
        """Use an open store."""
        self._store = store

    def settled(self, policy: PolicyRecord, *, at: int) -> Job:
        """Return the job of a current policy, after taking out who has lapsed.

        Outside a transaction; it makes one of its own where somebody has lapsed.
        """
        departure = self._lapsed(policy, at)
        if departure.gone:
            with self._store.transaction():
                self._write_lapse(departure, policy, at)
        return departure.job

    def namespaces(self) -> Iterator[str]:
        """Return the namespace of each member; of jobs that nobody asked about, the lapsed too."""
        for _, row in self._store.tables.rows(member_rows.JOBS_TABLE):
            job = member_rows.job_from_row(row)
            yield from (job.namespace for _ in range(sum(job.live.values())))

    def rows(self, job: Job) -> tuple[bytes, ...]:
        """Return the rows of a job's members, as they are kept; equal rows say the same."""
        table = member_rows.members_table(job.namespace, job.name)
        return tuple(row for _, row in self._store.tables.rows(table))

    def members(self, job: Job) -> list[Member]:
        """Return every member of a job."""
        return [member_rows.member_from_row(row) for row in self.rows(job)]

    def member(self, job: Job, role: str, instance: str) -> Member | None:
        """Return the member of that name."""
        table = member_rows.members_table(job.namespace, job.name)
        row = self._store.tables.get(table, member_rows.member_key(role, instance))
        return None if row is None else member_rows.member_from_row(row)

    def displaced(
        self, policy: PolicyRecord, candidate: Member, *, index: int | None, at: int
    ) -> tuple[Member, ...]:
        """Return whose places a candidate would take; changes nothing."""
        if index is None:
            return ()
        departure = self._lapsed(policy, at)
        staying = [each for each in self.members(departure.job) if each not in departure.gone]
        return membership.displaced(staying, candidate, index=index)

    def admit(
        self,
        policy: PolicyRecord,
        candidate: Member,
        *,
        index: int | None,
        maximum: int | None,
        at: int,
    ) -> Admission:
        """Let somebody join or renew, by the rules of `membership`; inside a transaction.

        The log's entry is the release's own, which the caller appends to the same transaction.
        MEM-18, MEM-19. Whoever had its place is out, with every lease, and has an entry of its own.

        Args:
            policy: The current version.
            candidate: Whom it would admit now.
            index: The candidate's, where the instances of its role are numbered; None elsewhere.
            maximum: How many members it allows in the role; None where it does not say.
            at: Now.

        Raises:
            ReleaseDeniedError: `release.expelled`, `release.instance-taken`, `release.too-many`;
                the transaction is to be given up.
        """
        job = self._lapse(policy, at)
        expelled = member_rows.expelled_key(policy.hash, candidate.key_digest)
        admission = membership.admit(
            job,
            candidate,
            present=self.member(job, candidate.role, candidate.instance),
            gone=self.displaced(policy, candidate, index=index, at=at),
            expelled=self._store.tables.get(member_rows.EXPELLED_TABLE, expelled) is not None,
            maximum=maximum,
        )
        self._take_out(job, admission.gone)
        for member in admission.gone:
            self.note(member, "member.replace", at=at)
            self._end_leases(member.key_digest)
        self._put(admission)
        return admission

    def renew(self, policy: PolicyRecord, candidate: Member, *, at: int) -> Admission:
        """Renew a live member, and admit nobody; inside a transaction.

        Raises:
            ReleaseDeniedError: `release.not-member`: nobody of that name and key is live.
        """
        job = self._lapse(policy, at)
        present = self.member(job, candidate.role, candidate.instance)
        if present is None or not same_bytes(present.key_digest, candidate.key_digest):
            raise not_a_member()
        admission = membership.admit(
            job, candidate, present=present, gone=(), expelled=False, maximum=None
        )
        self._put(admission)
        return admission

    def leave(self, job: Job, member: Member, *, at: int) -> Job:
        """Take a member out because it says so; inside a transaction."""
        left = self._part(job, (member,))
        self.note(member, "member.leave", at=at)
        return left

    def note(
        self, member: Member, operation: str, *, at: int, code: str = "", subject: str = ""
    ) -> None:
        """Append the entry of what a member asked for; inside a transaction.

        Without a `subject` it is the member's role.
        """
        self._store.append(
            LogEntry(
                at=at,
                operation=operation,
                code=code,
                policy=member.policy,
                subject=subject or member.role,
                instance=member.instance,
                evidence=member.evidence,
                requester=member.key_digest,
            ).to_bytes()
        )

    def expel(self, job: Job, member: Member, *, at: int) -> Job:
        """Take a member's key out of the job for good; inside a transaction.

        MEM-14, MEM-15. Every member with that key goes, and every lease that the key holds ends.
        The log's entry is the owner's, which the caller appends to the same transaction.
        """
        gone = [each for each in self.members(job) if each.key_digest == member.key_digest]
        left = self._part(job, gone)
        key = member_rows.expelled_key(member.policy, member.key_digest)
        value = encode({"at": at, "role": member.role, "instance": member.instance})
        self._store.tables.put(member_rows.EXPELLED_TABLE, key, value)
        self._end_leases(member.key_digest)
        return left

    # -- inside

    def _end_leases(self, key_digest: bytes) -> None:
        for volume in self._store.volumes():
            ended = released(volume, {key_digest})
            if ended is not volume:
                self._store.put_volume(ended)

    def _lapsed(self, policy: PolicyRecord, at: int) -> Departure:
        key = member_rows.job_key(policy.namespace, policy.name)
        row = self._store.tables.get(member_rows.JOBS_TABLE, key)
        if row is None:
            job = membership.new_job(policy.namespace, policy.name, policy=policy.hash)
        else:
            job = member_rows.job_from_row(row)
        if not membership.has_lapses(job, policy=policy.hash, at=at):
            return Departure(job, ())
        return membership.lapse(job, self.members(job), policy=policy.hash, at=at)

    def _lapse(self, policy: PolicyRecord, at: int) -> Job:
        departure = self._lapsed(policy, at)
        self._write_lapse(departure, policy, at)
        return departure.job

    def _write_lapse(self, departure: Departure, policy: PolicyRecord, at: int) -> None:
        if not departure.gone:
            return
        job = departure.job
        self._take_out(job, departure.gone)
        self._put_job(job)
        self._store.append(
            LogEntry(
                at=at,
                operation="member.lapse",
                code="",
                policy=policy.hash,
                subject=f"{job.namespace}/{job.name}",
                instance="",
                evidence=_NO_DIGEST,
                requester=random_bytes(DIGEST_BYTES),  # RL-8
            ).to_bytes()
        )

    def _part(self, job: Job, gone: Iterable[Member]) -> Job:
        departure = membership.part(job, gone)
        self._take_out(job, departure.gone)
        self._put_job(departure.job)
        return departure.job

    def _take_out(self, job: Job, gone: Iterable[Member]) -> None:
        table = member_rows.members_table(job.namespace, job.name)
        for member in gone:
            key = member_rows.member_key(member.role, member.instance)
            self._store.tables.put(table, key, None)

    def _put(self, admission: Admission) -> None:
        job, member = admission.job, admission.member
        table = member_rows.members_table(job.namespace, job.name)
        key = member_rows.member_key(member.role, member.instance)
        self._store.tables.put(table, key, member_rows.member_to_row(member))
        self._put_job(job)

    def _put_job(self, job: Job) -> None:
        key = member_rows.job_key(job.namespace, job.name)
        self._store.tables.put(member_rows.JOBS_TABLE, key, member_rows.job_to_row(job))
