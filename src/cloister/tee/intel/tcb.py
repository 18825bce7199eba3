"""Statuses of Intel's TCB: how levels are chosen, and how parts make one status. Pure.

Spec: intel-evidence-v1, clauses INTEL-40 to INTEL-46.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import EndorsementError, MalformedError
from cloister.tee.intel.statement import Statement

__all__ = [
    "Level",
    "SvnLevel",
    "TcbStatus",
    "choose_platform",
    "choose_svn",
    "converge",
    "merge",
    "read_status",
    "read_svn_level",
    "with_relaunch",
]

UP_TO_DATE: Final = "UpToDate"
OUT_OF_DATE: Final = "OutOfDate"
REVOKED: Final = "Revoked"
_CONFIGURED_WRONG: Final = {
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDateConfigurationNeeded",
}
_OUTDATED: Final = {OUT_OF_DATE, "OutOfDateConfigurationNeeded"}
_STATUSES: Final = _CONFIGURED_WRONG | _OUTDATED | {UP_TO_DATE, REVOKED, "SWHardeningNeeded"}
_MODULE_COMPONENTS: Final = 2


@dataclass(frozen=True, slots=True)
class TcbStatus:
    """What Intel says of one version: a status, since when it stood, and known weaknesses."""

    status: str
    date: int
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A level of TCB info: the least SVNs that reach it."""

    sgx: tuple[int, ...]
    pcesvn: int
    tdx: tuple[int, ...]
    says: TcbStatus


@dataclass(frozen=True, slots=True)
class SvnLevel:
    """A level of an enclave's or a TDX module's identity: the least SVN that reaches it."""

    isvsvn: int
    says: TcbStatus


def read_status(level: Statement) -> TcbStatus:
    """Read what a platform's level says.

    Raises:
        MalformedError: A member is missing, or the status is not a known one.
    """
    return _read_status(level, _STATUSES)


def read_svn_level(level: Statement, max_svn: int) -> SvnLevel:
    """Read a level of an enclave or a TDX module, which knows neither configuration nor hardening.

    Raises:
        MalformedError: A member is missing, or the status is not a known one.
    """
    isvsvn = level.inner("tcb").integer("isvsvn", max_svn)
    return SvnLevel(isvsvn, _read_status(level, {UP_TO_DATE, OUT_OF_DATE, REVOKED}))


def choose_platform(
    levels: Iterable[Level], components: Sequence[int], pcesvn: int, tee_tcb_svn: bytes | None
) -> TcbStatus:
    """Return what is said of the first level that the platform reaches.

    Args:
        levels: In Intel's order, newest first.
        components: Of the PCK certificate.
        pcesvn: Of the PCK certificate.
        tee_tcb_svn: Of the TD's report; None for an enclave. Its first two components are the TDX
            module's, and judged by the module's identity where the second, its version, is not 0.

    Raises:
        EndorsementError: It reaches none (`endorsement.mismatch`), or a revoked one.
    """
    for level in levels:
        if pcesvn < level.pcesvn or not _reaches(components, level.sgx):
            continue
        if tee_tcb_svn is not None:
            skipped = _MODULE_COMPONENTS if tee_tcb_svn[1] else 0
            if not _reaches(tee_tcb_svn[skipped:], level.tdx[skipped:]):
                continue
        return _unrevoked(level.says, "the platform's TCB level")
    raise _no_level("the platform's TCB")


def choose_svn(levels: Iterable[SvnLevel], svn: int, what: str) -> TcbStatus:
    """Return what is said of the first level that an SVN reaches.

    Raises:
        EndorsementError: It reaches none (`endorsement.mismatch`), or a revoked one.
    """
    for level in levels:
        if svn >= level.isvsvn:
            return _unrevoked(level.says, what)
    raise _no_level(what)


def converge(platform: str, parts: Collection[str]) -> str:
    """Return the platform's status as parts that are out of date make it; they never better it."""
    if OUT_OF_DATE not in parts or platform in _OUTDATED:
        return platform
    return "OutOfDateConfigurationNeeded" if platform in _CONFIGURED_WRONG else OUT_OF_DATE


def merge(platform: TcbStatus, parts: Sequence[TcbStatus]) -> TcbStatus:
    """Make one status of all: converged, as old as the oldest part, with all advisories sorted."""
    every = [platform, *parts]
    return TcbStatus(
        status=converge(platform.status, [part.status for part in parts]),
        date=min(each.date for each in every),
        advisories=_union(every),
    )


def with_relaunch(launched: TcbStatus, running: TcbStatus) -> TcbStatus:
    """Judge a TD whose TDX module was updated while it ran.

    Args:
        launched: Of the TCB that it was launched under.
        running: Of the TCB that runs it now.
    """
    status = launched.status
    if status in _OUTDATED and running.status not in _OUTDATED:
        configured = _CONFIGURED_WRONG & {status, running.status}
        status = "TDRelaunchAdvisedConfigurationNeeded" if configured else "TDRelaunchAdvised"
    elif status not in _OUTDATED and running.status in _OUTDATED:
        status = running.status
    both = (launched, running)
    return TcbStatus(status, min(each.date for each in both), _union(both))


def _read_status(level: Statement, known: Collection[str]) -> TcbStatus:
    status = level.text("tcbStatus")
    if status not in known:
        raise MalformedError(
            "a TCB status that is not known", code="endorsement.malformed", detail=status
        )
    return TcbStatus(status, level.instant("tcbDate"), level.texts("advisoryIDs"))


def _union(every: Iterable[TcbStatus]) -> tuple[str, ...]:
    return tuple(sorted({name for each in every for name in each.advisories}))


def _reaches(found: Sequence[int], least: Sequence[int]) -> bool:
    return all(have >= want for have, want in zip(found, least, strict=True))


def _unrevoked(says: TcbStatus, what: str) -> TcbStatus:
    if says.status == REVOKED:
        raise EndorsementError(f"{what} is revoked", code="endorsement.revoked")
    return says


def _no_level(what: str) -> EndorsementError:
    return EndorsementError(
        f"{what} reaches no level that Intel lists",
        code="endorsement.mismatch",
        detail="no TCB level matches",
    )
