"""TCB info of both versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloister.errors import MalformedError
from cloister.tee.intel.tcb_info import read_tcb_info
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

INTEL = SimulatedIntel(b"tcb info", at=1767225600)
SGX = json.loads(INTEL.mint(IntelCase("sgx3")).bundle["tcb_info"])
TDX = json.loads(INTEL.mint(IntelCase("tdx4")).bundle["tcb_info"])


def _read(info: dict[str, Any]) -> Any:
    return read_tcb_info(json.dumps(info).encode())


def _refused(info: dict[str, Any]) -> None:
    with pytest.raises(MalformedError) as e:
        _read(info)
    assert e.value.code == "endorsement.malformed"


@pytest.mark.spec("INTEL-23", "INTEL-24")
def test_version_3_is_read() -> None:
    """For enclaves and for TDs, with the modules of these."""
    sgx, tdx = _read(SGX), _read(TDX)
    assert (sgx.id, sgx.module, sgx.modules) == ("SGX", None, ())
    assert sgx.levels[0].sgx == (7,) * 16
    assert sgx.levels[0].tdx == ()
    assert tdx.id == "TDX"
    assert tdx.module is not None
    assert [module.id for module in tdx.modules] == ["TDX_01"]
    assert tdx.levels[0].tdx[2] == 7
    assert tdx.evaluation == 18


@pytest.mark.spec("INTEL-23")
def test_version_2_is_read_for_enclaves() -> None:
    """Its components are members of their own, and it has no id."""
    tcb = {f"sgxtcbcomp{number:02}svn": number for number in range(1, 17)} | {"pcesvn": 5}
    level = SGX["tcbLevels"][0] | {"tcb": tcb}
    old = {name: value for name, value in SGX.items() if name != "id"}
    old |= {"version": 2, "tcbLevels": [level]}
    info = _read(old)
    assert (info.id, info.version) == ("SGX", 2)
    assert info.levels[0].sgx == tuple(range(1, 17))
    _refused(old | {"id": "TDX"})


@pytest.mark.spec("INTEL-20", "INTEL-23")
def test_old_tcb_info_of_tds_has_no_module_identities() -> None:
    """That of 2023 names one module, and members that are new are passed over."""
    info = _read({k: v for k, v in TDX.items() if k != "tdxModuleIdentities"} | {"new": [1]})
    assert info.modules == ()
    assert info.module is not None


@pytest.mark.parametrize("name", sorted(set(TDX) - {"tdxModuleIdentities"}))
@pytest.mark.spec("INTEL-20")
def test_a_missing_member_is_malformed(name: str) -> None:
    """Each of them."""
    _refused({k: v for k, v in TDX.items() if k != name})


@pytest.mark.parametrize("count", [0, 15, 17])
@pytest.mark.parametrize("name", ["sgxtcbcomponents", "tdxtcbcomponents"])
@pytest.mark.spec("INTEL-24")
def test_a_level_has_sixteen_components(name: str, count: int) -> None:
    """No level is reached because it asks for little."""
    level = TDX["tcbLevels"][0]
    tcb = level["tcb"] | {name: [{"svn": 1}] * count}
    _refused(TDX | {"tcbLevels": [level | {"tcb": tcb}]})
