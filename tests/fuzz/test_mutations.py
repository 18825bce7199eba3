"""Nothing that was changed is accepted: through the function under `cloister evidence verify`.

Genuine samples where they are, and every simulated manufacturer: blind changes, changes by the
format, whole parts exchanged. What is accepted all the same says provably the same
(`normal_forms`), and its class is one that the kind may have. `make fuzz` makes thousands of each.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.verdict import Verdict
from cloister.errors import CloisterError
from evidence_samples import instant
from fuzz.mutants import mutants
from fuzz.normal_forms import class_of, normal
from fuzz.parts import changed_parts
from fuzz.subjects import FOLDER, Subject, genuine, simulated

LARGE: Final = "CLOISTER_FUZZ" in os.environ
COUNT: Final = 1200 if LARGE else 20
LONGEST_S: Final = 2.0
LARGEST_KIB: Final = 256 << 10
SUBJECTS: Final = simulated() + genuine()
# What may be accepted though its bytes differ, by kind; everything else may not.
CLASSES: Final = {
    "sgx": {"padding", "twin", "ciphertext"},
    "tdx": {"padding", "twin", "ciphertext"},
    "snp": {"twin"},
    "tpm": {"twin", "words", "folder"},
    "azure-snp": {"twin", "words", "folder"},
    "azure-tdx": {"twin", "padding", "words", "folder"},
    "nvidia": {"twin", "spelling"},
    "nitro": {"twin"},
    "cca": {"twin"},
    "sim": set(),
}
# Samples that no instant makes acceptable: their signatures, roots or levels are bad.
NEVER: Final = {
    "tdx/coco-v5", "tdx/dcapqvl-tappd", "nvidia/hopper-560-bad-signature",
    "nitro/fortanix-tampered-signature",
}  # fmt: skip
TIMELESS: Final = {"sim", "cca"}  # and quotes by a pinned key: nothing in them names a time

pytestmark = pytest.mark.skipif(
    LARGE and not FOLDER.is_dir(), reason=f"genuine evidence is not at {FOLDER}"
)


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """All of it together makes the process's peak no larger than one input may."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < LARGEST_KIB


def test_genuine_samples_are_here() -> None:
    """Without them the simulated manufacturers stand alone, which is to be seen."""
    if not FOLDER.is_dir():
        pytest.skip(f"genuine evidence is not at {FOLDER}; CLOISTER_EVIDENCE names another folder")
    assert len(SUBJECTS) > len(simulated()) + 25


def baseline(subject: Subject, place: Path) -> tuple[str, Verdict | None]:
    """Return the bit that evidence has for `debug`, and its verdict; None where it has none."""
    for debug in ("clear", "set"):
        verdict = subject.judge(place, debug=debug)
        if verdict.accepted:
            return debug, verdict
    return "clear", None


def judged(subject: Subject, place: Path, **changes: Any) -> bool:
    """Tell whether something is accepted; nothing but our errors escapes, in time."""
    began = time.process_time()
    try:
        accepted = subject.judge(place, **changes).accepted
    except CloisterError:
        accepted = False
    assert time.process_time() - began < LONGEST_S
    return accepted


def changes(subject: Subject) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the parts with one of them changed."""
    for number, (name, data) in enumerate(subject.parts.items()):
        for label, changed in mutants(data, count=COUNT, seed=number):
            yield f"{name}: {label}", dict(subject.parts) | {name: changed}


@pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
@pytest.mark.spec("INTEL-5", "AZ-28", "NV-6")
def test_no_changed_evidence_is_accepted(subject: Subject, tmp_path: Path) -> None:
    """Bits, cuts, parts twice or left out, other forms of JSON, PEM, DER."""
    debug, good = baseline(subject, tmp_path)
    assert (good is None) == (subject.name in NEVER)
    evidence = None if good is None else subject.body(tmp_path, subject.parts)
    seen: Counter[str] = Counter()
    for label, parts in changes(subject):
        if not judged(subject, tmp_path, parts=parts, debug=debug):
            continue
        assert evidence is not None, label
        changed = subject.body(tmp_path, parts)
        assert normal(changed) == normal(evidence), label
        seen[class_of(evidence, changed)] += 1
    assert set(seen) <= CLASSES[subject.kind], seen


@pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
def test_no_exchanged_part_is_accepted(subject: Subject, tmp_path: Path) -> None:
    """Chains backwards or another's, signatures of others, parts of two machines."""
    debug, good = baseline(subject, tmp_path)
    if good is None:
        return
    evidence = subject.body(tmp_path, subject.parts)
    place = tmp_path / "others"
    place.mkdir()
    alike = [each for each in SUBJECTS if each.kind == subject.kind and each.name not in NEVER]
    others = [each.body(place, each.parts) for each in alike if each is not subject]
    same = [each for each in others if each.media_type == evidence.media_type][:: 1 if LARGE else 3]
    envelope = _enveloped(subject, evidence)
    assert judged(envelope, tmp_path, debug=debug) or len(evidence.body) > 65536
    for label, changed in changed_parts(evidence, same):
        one = _enveloped(subject, changed)
        accepted = judged(one, tmp_path, debug=debug)
        assert not accepted or normal(changed) == normal(evidence), label
        assert accepted or label != "twin"


def _enveloped(subject: Subject, evidence: Evidence) -> Subject:
    """Return a subject whose evidence is one file."""
    return Subject(
        subject.name,
        subject.kind,
        subject.at,
        {"alone.bin": evidence.to_bytes()},
        subject.endorsements,
        subject.anchors,
        alone=True,
    )


@pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
def test_no_changed_endorsement_says_more(subject: Subject, tmp_path: Path) -> None:
    """What is accepted under changed endorsements has the claims that it had, or fewer checks."""
    debug, good = baseline(subject, tmp_path)
    expected = None if good is None else _claims(good)
    # A list and a packed list of GPUs are vouched for by what vouches for one.
    again = not LARGE and subject.name.startswith(
        ("simulated nvidia list", "simulated nvidia pack")
    )
    count = COUNT // 10 if again else COUNT // 4
    for number, (name, data) in enumerate(subject.endorsements.items()):
        for label, changed in mutants(data, count=count, seed=100 + number):
            given = dict(subject.endorsements) | {name: changed}
            began = time.process_time()
            try:
                verdict = subject.judge(tmp_path, endorsements=given, debug=debug)
            except CloisterError:
                continue
            finally:
                assert time.process_time() - began < LONGEST_S
            if verdict.accepted:
                assert expected is not None, (name, label)
                assert _claims(verdict) == expected, (name, label)


def _claims(verdict: Verdict) -> dict[str, Any]:
    """Return what was established, but whether revocation was: less of that is told, not hidden."""
    assert verdict.claims is not None
    vendor = {
        name: value
        for name, value in verdict.claims.vendor.items()
        if name not in ("revocation", "revocation_checked")
    }
    common = (verdict.claims.measurement, verdict.claims.report_data, verdict.claims.status,
              verdict.claims.advisories, verdict.claims.anchor, verdict.claims.debug)  # fmt: skip
    return {"common": common, "vendor": vendor}


@pytest.mark.parametrize(
    "subject", [each for each in SUBJECTS if LARGE or each.window or "nvidia" not in each.name],
    ids=repr,
)  # fmt: skip
def test_one_second_outside_its_time_nothing_is_accepted(subject: Subject, tmp_path: Path) -> None:
    """Both edges are looked for, and are where the sample's description says."""
    debug, good = baseline(subject, tmp_path)
    if good is None:
        return
    at = instant(subject.at)

    def accepted(seconds: int) -> bool:
        return judged(subject, tmp_path, at=_text(seconds), debug=debug)

    first, last = _edge(at, 0, accepted), _edge(at, 253402300799, accepted)
    if subject.kind in TIMELESS or (subject.kind == "tpm" and not subject.endorsements):
        assert (first, last) == (0, 253402300799)
        return
    assert accepted(first)
    assert accepted(last)
    assert not accepted(first - 1)
    assert last == 253402300799 or not accepted(last + 1)
    known = subject.window
    if known is not None:
        assert (first, last) == known


def _edge(inside: int, outside: int, accepted: Any) -> int:
    """Return the last accepted second on the way from one that is to one that may not be."""
    if accepted(outside):
        return outside
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if accepted(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _text(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
