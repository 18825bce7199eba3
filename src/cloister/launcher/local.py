"""What this machine would prove of itself: the reference values that a policy names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.launcher.cache import CacheKey
from cloister.launcher.fingerprint import Fingerprint, is_settled, take_fingerprint
from cloister.launcher.known import KnownDigests
from cloister.launcher.manifest import RUNTIME_LABEL, Manifest
from cloister.launcher.runtime import RuntimeLayout, executable_layout, running_layout
from cloister.tee.sim.image import installed_image

if TYPE_CHECKING:
    from cloister.launcher.measure import Progress
    from cloister.tee.sim.platform import SimPlatform

__all__ = ["LocalFacts", "layout_of", "local_facts", "measure_runtime", "runtime_digest"]

_CACHE_PURPOSE: Final = b"runtime measurement cache"
_CACHE_NAME: Final = "runtime.cache"
_KNOWN_PURPOSE: Final = b"runtime digests by fingerprint"
_KNOWN_NAME: Final = "runtime.known"
_SETTLED_S: Final = 3


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
    platform: SimPlatform | None,
    *,
    cache_directory: Path,
    at: int,
    progress: Progress,
) -> Manifest:
    """Measure a runtime, quickly where this platform measured it before.

    Without a platform every byte is hashed: nothing that lies on a disk of the host's can say to a
    machine of hardware what was measured before.
    """
    # Imported here: a run whose fingerprint is known does without.
    from cloister.launcher.measure import MeasurementCache, measure

    cache = None
    if platform is not None:
        cache = MeasurementCache(
            cache_directory / _CACHE_NAME, CacheKey(platform.sealing_key(_CACHE_PURPOSE))
        )
    return measure(layout.roots, cache=cache, at=at, progress=progress)


def runtime_digest(
    layout: RuntimeLayout,
    platform: SimPlatform | None,
    *,
    cache_directory: Path,
    at: int,
    progress: Progress,
    fingerprint: Fingerprint | None,
) -> bytes:
    """Return the runtime's digest: at once where the fingerprint is one that was measured before.

    Args:
        layout: What to measure.
        platform: Whose caches they are; None measures without any (LM-26).
        cache_directory: Where it keeps them.
        at: Now, in seconds since the epoch.
        progress: Told while files are hashed.
        fingerprint: Begun earlier; one of other roots is ignored. None measures the longer way.
    """
    if platform is None:
        manifest = measure_runtime(
            layout, None, cache_directory=cache_directory, at=at, progress=progress
        )
        return manifest.digest(RUNTIME_LABEL)
    before = None
    if fingerprint is not None and fingerprint.roots == layout.roots:
        before = fingerprint.value()
    known = KnownDigests(
        cache_directory / _KNOWN_NAME, CacheKey(platform.sealing_key(_KNOWN_PURPOSE))
    )
    digest = None if before is None else known.get(before)
    if digest is None:
        manifest = measure_runtime(
            layout, platform, cache_directory=cache_directory, at=at, progress=progress
        )
        digest = manifest.digest(RUNTIME_LABEL)
        # The same before and after hashing, and nothing so new that a change could hide (LM-22).
        if (
            before is not None
            and before == take_fingerprint(layout.roots)
            and is_settled(layout.roots, at=at, margin_s=_SETTLED_S)
        ):
            known.put(before, digest)
    return digest


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
