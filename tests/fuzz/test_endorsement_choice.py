"""Choosing among hostile endorsements: only our errors escape, and no newer part is passed over."""

from __future__ import annotations

import contextlib
import json
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import CloisterError
from cloister.tee.registry import by_name
from cloister.tee.snp.endorsements import LIST_TYPE
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_REPORT
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

DAY_S: Final = 86400
PARTS: Final = ("pck_crl", "root_crl", "tcb_info", "qe_identity")
MEMBERS: Final = {"pck_crl": "pck_crl", "root_crl": "root_ca_crl", "tcb_info": "tcb_info",
                  "qe_identity": "qe_identity"}  # fmt: skip
INTEL: Final = SimulatedIntel(b"fuzz", at=NOW)
AMD: Final = SimulatedAmd(b"fuzz", "Milan")
CHIP: Final = AMD.chip()
TD: Final = INTEL.mint(IntelCase("tdx5"))
EVIDENCE: Final = {"tdx": TD.evidence, "snp": Evidence(SNP_REPORT, CHIP.report())}
GOOD: Final = {"tdx": [*TD.endorsements], "snp": AMD.endorsements(CHIP)}
DAYS: Final = st.integers(0, 20)
_MINTED: Final = {
    day: INTEL.mint(
        IntelCase("tdx5", windows=dict.fromkeys(PARTS, (NOW - day * DAY_S, NOW + DAY_S)))
    ).bundle
    for day in range(21)
}
_LISTS: Final = [AMD.revocations(validity=(NOW - day * DAY_S, NOW + DAY_S)) for day in range(21)]


def _spliced(data: st.DataObject, original: bytes) -> bytes:
    """Replace one stretch of good bytes by others."""
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 16)))
    return original[:start] + data.draw(st.binary(max_size=16)) + original[end:]


@given(st.sampled_from(["tdx", "snp"]), st.data())
def test_hostile_endorsements_and_evidence(kind: str, data: st.DataObject) -> None:
    """Spliced, repeated, of the other kind, in any number; the service's own are good."""
    root = by_name(kind)
    assert root is not None
    pool = [*GOOD["tdx"], *GOOD["snp"]]
    sent = [
        Endorsement(each.media_type, _spliced(data, each.body) if data.draw(st.booleans()) else
                    each.body)
        for each in data.draw(st.lists(st.sampled_from(pool), max_size=4))
    ]  # fmt: skip
    evidence = EVIDENCE[kind]
    if data.draw(st.booleans()):
        evidence = Evidence(evidence.media_type, _spliced(data, evidence.body))
    with contextlib.suppress(CloisterError):
        root.choose(evidence, tuple(sent), tuple(pool))


def _bundle(days: dict[str, int]) -> Endorsement:
    """A bundle whose parts were issued so many days ago."""
    made = dict(_MINTED[0])
    for part, day in days.items():
        names = [name for name in made if name.startswith(MEMBERS[part])]
        made |= {name: _MINTED[day][name] for name in names}
    return Endorsement(TD.endorsements[0].media_type, json.dumps(made).encode())


_AGES: Final = st.fixed_dictionaries(dict.fromkeys(PARTS, DAYS))


@given(_AGES, st.lists(_AGES, max_size=3))
def test_no_newer_part_is_passed_over(sent: dict[str, int], own: list[dict[str, int]]) -> None:
    """Whoever has it, in whatever bundle; each part is one that somebody gave."""
    root = by_name("tdx")
    assert root is not None
    (chosen,) = root.choose(TD.evidence, (_bundle(sent),), tuple(map(_bundle, own)))
    found = json.loads(chosen.body)
    for part in PARTS:
        youngest = min(ages[part] for ages in (sent, *own))
        assert found[MEMBERS[part]] == _MINTED[youngest][MEMBERS[part]]


@given(DAYS, st.lists(DAYS, max_size=3))
def test_no_newer_list_is_passed_over(sent: int, own: list[int]) -> None:
    """AMD's."""
    root = by_name("snp")
    assert root is not None
    given_along = [*GOOD["snp"][:2], Endorsement(LIST_TYPE, _LISTS[sent])]
    kept = tuple(Endorsement(LIST_TYPE, _LISTS[day]) for day in own)
    chosen = root.choose(EVIDENCE["snp"], tuple(given_along), kept)
    assert [*chosen][2].body == _LISTS[min([sent, *own])]
