"""NVIDIA's library as a C program sees it: a fake of it, compiled here from the header's names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from cloister.errors import CloisterError
from cloister.tee.nvidia.nvml import Nvml
from cloister.testing.nvml import FakeNvml, build_library, find_compiler

NONCE: Final = bytes(range(32))


def test_what_a_gpu_answers_comes_as_it_is(nvml: FakeNvml) -> None:
    """Each from its own place of its structure, as long as it says."""
    nvml.put("count0", 2)
    for gpu in (0, 1):
        nvml.put(f"report{gpu}", b"report %d" % gpu)
        nvml.put(f"certificates{gpu}", b"certificates %d" % gpu)
    with Nvml(nvml.library) as library:
        library.require_confidential()
        gpus = library.gpus()
        assert [library.architecture(gpu) for gpu in gpus] == ["HOPPER", "HOPPER"]
        assert [library.report(gpu, NONCE) for gpu in gpus] == [b"report 0", b"report 1"]
        assert [library.certificates(gpu) for gpu in gpus] == [
            b"certificates 0",
            b"certificates 1",
        ]
    assert nvml.written("nonces") == NONCE * 2
    assert nvml.written("log") == b"is"
    nvml.put("architecture0", 10)
    with Nvml(nvml.library) as library:
        assert library.architecture(library.gpus()[0]) == "BLACKWELL"


def test_the_largest_answers_fit(nvml: FakeNvml) -> None:
    """And sizes beyond the structure are not followed."""
    nvml.put("report0", b"r" * 0x2000)
    nvml.put("certificates0", b"c" * 0x1400)
    with Nvml(nvml.library) as library:
        gpu = library.gpus()[0]
        assert library.report(gpu, NONCE) == b"r" * 0x2000
        assert library.certificates(gpu) == b"c" * 0x1400
        for name, size in (("report", 0x2001), ("certificates", 0x1401)):
            for wrong in (size, 0, 0xFFFFFFFF):
                nvml.put(f"{name}.size0", wrong)
                ask = (
                    library.certificates
                    if name == "certificates"
                    else (lambda handle: library.report(handle, NONCE))
                )
                with pytest.raises(CloisterError) as e:
                    ask(gpu)
                assert e.value.code == "attester.failed"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"init.code0": 9}, "machine.attester"),
        ({"init.code0": 12}, "machine.attester"),
        ({"init.code0": 18}, "attester.failed"),
        ({"init.code0": 4}, "attester.failed"),
        ({"count0": 0}, "machine.attester"),
        ({"count.code0": 1}, "attester.failed"),
        ({"handle.code0": 15}, "attester.failed"),
        ({"handle.code0": 28}, "machine.attester"),
        ({"architecture0": 8}, "machine.attester"),
        ({"architecture0": 0xFFFFFFFF}, "machine.attester"),
        ({"feature0": 0}, "machine.attester"),
        ({"feature0": 2}, "machine.attester"),
        ({"state.code0": 3}, "machine.attester"),
        ({"report.code0": 7}, "attester.failed"),
        ({"report.code0": 10}, "attester.busy"),
        ({"report.code0": 27}, "attester.busy"),
        ({"report.code0": 3}, "machine.attester"),
        ({"report.code0": 999}, "attester.failed"),
        ({"report.code0": -1}, "attester.failed"),
        ({"certificates.code0": 7}, "attester.failed"),
    ],
)
def test_each_return_code_has_a_meaning(nvml: FakeNvml, answers: dict[str, int], code: str) -> None:
    """Whichever function gives it; the library is shut down where it was initialized."""
    for name, value in ({"report0": 1, "certificates0": 1} | answers).items():
        nvml.put(name, value)

    def ask() -> None:
        with Nvml(nvml.library) as library:
            library.require_confidential()
            for gpu in library.gpus():
                library.architecture(gpu)
                library.report(gpu, NONCE)
                library.certificates(gpu)

    with pytest.raises(CloisterError) as e:
        ask()
    assert e.value.code == code
    assert nvml.written("log") == (b"i" if "init.code0" in answers else b"is")


def test_a_library_that_is_not_there_or_is_none_says_so(tmp_path: Path) -> None:
    """By path and by name."""
    (tmp_path / "text.so").write_text("no library")
    for path in (tmp_path / "none.so", tmp_path / "text.so", Path("libcloister-none.so.1")):
        with pytest.raises(CloisterError) as e, Nvml(path):
            pass
        assert e.value.code == "machine.attester"


def test_a_driver_without_the_function_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known by the function's absence."""
    if find_compiler() is None:
        pytest.skip("no C compiler here: apt-get install gcc")
    library = build_library(tmp_path, "-DOLD_DRIVER")
    monkeypatch.setenv("FAKE_NVML", str(tmp_path))
    with Nvml(library) as nvml:
        gpu = nvml.gpus()[0]
        with pytest.raises(CloisterError) as e:
            nvml.report(gpu, NONCE)
    assert e.value.code == "machine.attester"


def test_what_is_not_open_is_not_asked() -> None:
    """Before and after its use."""
    with pytest.raises(CloisterError) as e:
        Nvml().gpus()
    assert e.value.code == "attester.failed"
