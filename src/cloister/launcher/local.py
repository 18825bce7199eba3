"""What this machine would prove of itself: the reference values that a policy names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.launcher.cache import CacheKey
from cloister.launcher.manifest import RUNTIME_LABEL, Manifest
from cloister.launcher.measure import MeasurementCache, Progress, measure
from cloister.launcher.runtime import RuntimeLayout, executable_layout, running_layout
from cloister.tee.sim.attester import installed_image

if TYPE_CHECKING:
    from cloister.tee.sim.platform import SimPlatform

__all__ = ["LocalFacts", "layout_of", "local_facts", "measure_runtime"]

_CACHE_PURPOSE: Final = b"runtime measurement cache"
_CACHE_NAME: Final = "runtime.cache"


@dataclass(frozen=True, slots=True)
class LocalFacts:
    """Reference values of one platform, launcher and runtime; all public.

    Attributes:
        anchor: The simulated platform's public key, as `ed25519:<hex>`.
        launcher: 32 bytes: the image that measures everything else.
        runtime: 32 bytes: interpreter and installed distributions, or the one program.
        svn: The platform's security version.
    """

    anchor: str
    launcher: bytes
    runtime: bytes
    svn: int


def layout_of(program: str) -> RuntimeLayout:
    """Return what is measured for a command: `python`, or the absolute path of a program."""
    return running_layout() if program == "python" else executable_layout(Path(program))


def measure_runtime(
    layout: RuntimeLayout,
    platform: SimPlatform,
    *,
    cache_directory: Path,
    at: int,
    progress: Progress,
) -> Manifest:
    """Measure a runtime, quickly where this platform measured it before."""
    cache = MeasurementCache(
        cache_directory / _CACHE_NAME, CacheKey(platform.sealing_key(_CACHE_PURPOSE))
    )
    return measure(layout.roots, cache=cache, at=at, progress=progress)


def local_facts(
    platform: SimPlatform, *, program: str, cache_directory: Path, at: int, progress: Progress
) -> LocalFacts:
    """Measure this machine as a launcher on it would."""
    manifest = measure_runtime(
        layout_of(program), platform, cache_directory=cache_directory, at=at, progress=progress
    )
    return LocalFacts(
        platform.anchor.text, installed_image(), manifest.digest(RUNTIME_LABEL), platform.svn
    )
