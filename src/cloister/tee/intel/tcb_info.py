"""TCB info: what Intel says of each version of one platform model, and of TDX modules on it.

Version 3 for SGX and TDX; version 2, which Intel served before, for SGX.

Spec: intel-evidence-v1, clauses INTEL-23 to INTEL-25.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloister.errors import MalformedError
from cloister.tee.intel.statement import Statement
from cloister.tee.intel.tcb import Level, SvnLevel, read_status, read_svn_level

__all__ = ["ModuleIdentity", "TcbInfo", "read_tcb_info"]

_COMPONENTS: Final = 16
_MAX_SVN: Final = 255
_MAX_WORD: Final = 65535
_MAX_EVALUATION: Final = 2**31 - 1
_OLD: Final = 2
_CURRENT: Final = 3


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """Whose a TDX module of one version is, and its levels.

    Attributes:
        id: `TDX_01` and so on; empty for the module of version 0, which has no levels of its own.
        mrsigner: Who signed it, 48 bytes; zero for Intel.
        attributes: What its attributes are under the mask, 8 bytes.
        attributes_mask: Which bits count.
        levels: Newest first.
    """

    id: str
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[SvnLevel, ...]


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """TCB info of one model (FMSPC) and PCE.

    Attributes:
        id: `SGX` or `TDX`.
        version: 2 or 3.
        issued: When it was made.
        next_update: Until when it counts.
        fmspc: Which model.
        pceid: Which PCE.
        evaluation: The number of Intel's evaluation; larger is newer.
        module: Of the TDX module of version 0; None for SGX.
        modules: Of later versions.
        levels: Newest first.
    """

    id: str
    version: int
    issued: int
    next_update: int
    fmspc: bytes
    pceid: bytes
    evaluation: int
    module: ModuleIdentity | None
    modules: tuple[ModuleIdentity, ...]
    levels: tuple[Level, ...]


@lru_cache(maxsize=16)
def read_tcb_info(text: bytes) -> TcbInfo:
    """Read text whose signature has been checked; a pure function, so the last few stay read.

    Raises:
        MalformedError: It is no TCB info of version 2 or 3 (`endorsement.malformed`).
    """
    info = Statement.from_text(text, "TCB info")
    version = info.integer("version", _CURRENT)
    kind = "SGX" if version == _OLD and not info.has("id") else info.text("id")
    known = {(_OLD, "SGX"), (_CURRENT, "SGX"), (_CURRENT, "TDX")}
    if (version, kind) not in known or info.integer("tcbType", _MAX_WORD) != 0:
        raise MalformedError(
            "TCB info of a kind that is not known",
            code="endorsement.malformed",
            detail=f"version {version}, {kind}",
        )
    tdx = kind == "TDX"
    modules: tuple[ModuleIdentity, ...] = ()
    if tdx and info.has("tdxModuleIdentities"):
        modules = tuple(_module(each) for each in info.each("tdxModuleIdentities"))
    return TcbInfo(
        id=kind,
        version=version,
        issued=info.instant("issueDate"),
        next_update=info.instant("nextUpdate"),
        fmspc=info.octets("fmspc", 6),
        pceid=info.octets("pceId", 2),
        evaluation=info.integer("tcbEvaluationDataNumber", _MAX_EVALUATION),
        module=_first_module(info.inner("tdxModule")) if tdx else None,
        modules=modules,
        levels=tuple(_level(each, version, tdx=tdx) for each in info.each("tcbLevels")),
    )


def _first_module(module: Statement) -> ModuleIdentity:
    return ModuleIdentity("", *_signer(module), ())


def _module(module: Statement) -> ModuleIdentity:
    levels = tuple(read_svn_level(each, _MAX_SVN) for each in module.each("tcbLevels"))
    return ModuleIdentity(module.text("id").upper(), *_signer(module), levels)


def _signer(module: Statement) -> tuple[bytes, bytes, bytes]:
    return (
        module.octets("mrsigner", 48),
        module.octets("attributes", 8),
        module.octets("attributesMask", 8),
    )


def _level(level: Statement, version: int, *, tdx: bool) -> Level:
    tcb = level.inner("tcb")
    if version == _OLD:
        numbers = range(1, _COMPONENTS + 1)
        sgx = tuple(tcb.integer(f"sgxtcbcomp{number:02}svn", _MAX_SVN) for number in numbers)
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    return Level(
        sgx=sgx,
        pcesvn=tcb.integer("pcesvn", _MAX_WORD),
        tdx=_components(tcb, "tdxtcbcomponents") if tdx else (),
        says=read_status(level),
    )


def _components(tcb: Statement, name: str) -> tuple[int, ...]:
    found = tuple(each.integer("svn", _MAX_SVN) for each in tcb.each(name))
    if len(found) != _COMPONENTS:
        raise MalformedError("a TCB has sixteen components", code="endorsement.malformed")
    return found
