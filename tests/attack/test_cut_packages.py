"""P44: a package of a cut model is used as its owner signed it, or not at all.

The attacker has the exposed folder, and packages that the same owner signed before. He may also
have another volume mounted where the secret side belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.partition.package import Package, PackageFiles, open_exposed, open_secret
from cloister.partition.report import read_report, write_report
from cloister.partition.sealing import LABELS_FILE, PLAN_FILE, REPORT_FILE, memory_reading
from cloister.partition.thresholds import read_thresholds
from cloister.testing.partition import SampleCut

OWNER = SigningKey(b"s" * 32)
GOOD = SampleCut().make()


def opened(exposed: Mapping[str, bytes], secret: Mapping[str, bytes], *require: str) -> Package:
    thresholds = read_thresholds(require or ["default"])
    half = open_exposed(memory_reading(exposed), signers=(OWNER.public,), thresholds=thresholds)
    return open_secret(half, memory_reading(secret))


def code_of(exposed: Mapping[str, bytes], secret: Mapping[str, bytes], *require: str) -> str:
    with pytest.raises(CloisterError) as caught:
        opened(exposed, secret, *require)
    return caught.value.code


def test_the_package_itself_is_opened() -> None:
    """Otherwise the refusals below say nothing."""
    assert opened(GOOD.exposed, GOOD.secret).middle.data == b"middle weights"


@pytest.mark.parametrize("name", sorted(GOOD.exposed))
def test_every_byte_of_the_exposed_side_counts(name: str) -> None:
    """One bit changed anywhere in any of its files: nothing is opened."""
    data = GOOD.exposed[name]
    step = max(1, len(data) // 200)
    for place in range(0, len(data), step):
        changed = bytearray(data)
        changed[place] ^= 1
        code = code_of(GOOD.exposed | {name: bytes(changed)}, GOOD.secret)
        if name != PLAN_FILE:
            assert code == "package.tampered"
        else:
            assert code in {"package.signer", "plan.malformed", "wire.malformed"}


@pytest.mark.parametrize("name", sorted(GOOD.secret))
def test_every_byte_of_the_secret_side_counts(name: str) -> None:
    """A volume that is another than the owner's is not used, whatever it has."""
    data = GOOD.secret[name]
    for place in range(0, len(data), max(1, len(data) // 50)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert code_of(GOOD.exposed, GOOD.secret | {name: bytes(changed)}) == "package.tampered"


@pytest.mark.parametrize("name", sorted(set(GOOD.exposed) - {PLAN_FILE}))
@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0", lambda _: b""])
def test_files_that_are_cut_or_longer_are_refused(name: str, change: object) -> None:
    """Also where the rest is as it was."""
    assert callable(change)
    data = change(GOOD.exposed[name])
    assert code_of(GOOD.exposed | {name: data}, GOOD.secret) == "package.tampered"


def test_files_that_are_missing_are_refused() -> None:
    """None is optional."""
    for name in GOOD.exposed:
        left = {key: data for key, data in GOOD.exposed.items() if key != name}
        assert code_of(left, GOOD.secret) == "config.missing"
    for name in GOOD.secret:
        left = {key: data for key, data in GOOD.secret.items() if key != name}
        assert code_of(GOOD.exposed, left) == "config.missing"


def test_parts_that_changed_places_are_refused() -> None:
    """The front where the back belongs, and the other way round."""
    front, back = GOOD.secret["front.onnx"], GOOD.secret["back.onnx"]
    swapped = GOOD.secret | {"front.onnx": back, "back.onnx": front}
    assert code_of(GOOD.exposed, swapped) == "package.tampered"


def test_somebody_elses_package_is_refused() -> None:
    """Well made and signed, by a key that nobody named."""
    other = SampleCut(key=SigningKey(b"o" * 32)).make()
    assert code_of(other.exposed, other.secret) == "package.signer"


def older() -> PackageFiles:
    """What the same owner signed before, with another middle and the same secret parts."""
    return SampleCut(made=1_700_000_000, middle=b"middle of last year").make()


def test_an_older_exposed_side_is_refused() -> None:
    """Signed, whole, with the same secret parts: the sealed plan says which package it is."""
    before = older()
    assert opened(before.exposed, before.secret).middle.data == b"middle of last year"
    assert before.secret["front.onnx"] == GOOD.secret["front.onnx"]
    assert code_of(before.exposed, GOOD.secret) == "package.tampered"
    assert code_of(GOOD.exposed, before.secret) == "package.tampered"


def test_a_middle_of_another_package_is_refused() -> None:
    """Although the owner made it."""
    middle = older().exposed["middle.onnx"]
    assert code_of(GOOD.exposed | {"middle.onnx": middle}, GOOD.secret) == "package.tampered"


def test_a_report_with_better_numbers_is_refused() -> None:
    """The plan names the report that the owner signed for."""
    report = read_report(GOOD.exposed[REPORT_FILE])
    nicer = write_report(replace(report, seed=report.seed + 1))
    assert code_of(GOOD.exposed | {REPORT_FILE: nicer}, GOOD.secret) == "package.tampered"


def test_who_opens_decides_what_is_good_enough() -> None:
    """The owner's own thresholds held; these do not, and the number is named."""
    with pytest.raises(CloisterError) as caught:
        opened(GOOD.exposed, GOOD.secret, "decoder.ssim.worst_decile<=0.2")
    record = caught.value.as_record()
    assert record["code"] == "model.refused"
    assert record["rule"] == "decoder.ssim.worst_decile"
    assert str(record["found"]).startswith("0.31")


def test_the_middle_is_refused_before_anything_secret_is_read() -> None:
    """A changed exposed side never gets as far as the volume."""

    def never(name: str, max_bytes: int) -> bytes:
        raise AssertionError(name, max_bytes)

    with pytest.raises(CloisterError) as caught:
        open_secret(
            open_exposed(
                memory_reading(GOOD.exposed | {"middle.onnx": b"other"}),
                signers=(OWNER.public,),
                thresholds=read_thresholds(["default"]),
            ),
            never,
        )
    assert caught.value.code == "package.tampered"


def test_labels_cannot_be_guessed_and_confirmed() -> None:
    """The public digest of the same labels is another in every package."""
    again = SampleCut(salt=b"\x77" * 32).make()
    assert again.secret[LABELS_FILE] != GOOD.secret[LABELS_FILE]
    assert again.exposed[PLAN_FILE] != GOOD.exposed[PLAN_FILE]
