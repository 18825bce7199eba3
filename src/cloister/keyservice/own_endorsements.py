"""Endorsements of a key service's own, in files and in bundles of collectors that it names.

A workload's host chooses what comes along with evidence; what the service has is what it cannot
hold back.

Spec: key-release-v1, clauses KR-100 to KR-105.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.attestation.evidence import Endorsement
from cloister.errors import CloisterError, ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.crypto.signature import VerifyingKey

__all__ = ["OwnEndorsements"]

_LOG: Final = logging.getLogger(__name__)


class OwnEndorsements:
    """What files, folders and bundles hold; calling it gives what was read last."""

    def __init__(self, paths: Sequence[Path], *, collectors: Collection[VerifyingKey] = ()) -> None:
        """Read them.

        Args:
            paths: What the operator named.
            collectors: Whose bundles are taken; none of them takes none.

        Raises:
            ConfigError: One cannot be read, or has nothing that releases are judged by.
            EndorsementError: A bundle is of a collector who was not named
                (`endorsement.collector`), or was changed (`endorsement.signature`).
        """
        self._paths: Final = tuple(paths)
        self._collectors: Final = collectors
        self._given = _read(self._paths, collectors)

    def __call__(self) -> tuple[Endorsement, ...]:
        """Return what was read last."""
        return self._given

    def reload(self) -> None:
        """Read again; where that fails, what was read before goes on to count."""
        try:
            self._given = _read(self._paths, self._collectors)
        except CloisterError as e:
            _LOG.error("endorsements.kept code=%s detail=%s", e.code, e.detail or e.public)
        else:
            _LOG.info("endorsements.read count=%d", len(self._given))


def _read(paths: Sequence[Path], collectors: Collection[VerifyingKey]) -> tuple[Endorsement, ...]:
    if not paths:
        return ()
    # A service that has none of its own loads no reader of them.
    from cloister.tee.choice import require_usable  # noqa: PLC0415  # see above
    from cloister.tee.endorsement_files import read_endorsements  # noqa: PLC0415  # see above

    found: list[Endorsement] = []
    for path in paths:
        try:
            given = read_endorsements([path], collectors=collectors)
            for each in given.endorsements:
                require_usable(each)
            usable = [*given.endorsements, *_of_use(given.bundled)]
        except MalformedError as e:
            raise ConfigError(
                f"{path} has something that no release is judged by: {e.public}",
                code="config.value",
                detail=e.detail,
                hint="Intel's collateral, AMD's certificates, chains and revocation lists",
            ) from e
        if not usable:
            raise ConfigError(f"{path} has no endorsements", code="config.value")
        found += [each for each in usable if each not in found]
    return tuple(found)


def _of_use(bundled: Sequence[Endorsement]) -> Iterator[Endorsement]:
    """KR-105. Leave out what a bundle has about kinds that releases are not judged by from here.

    Raises:
        MalformedError: What could be about nothing else cannot be read.
    """
    from cloister.tee.choice import may_be_others, require_usable  # noqa: PLC0415  # as above

    for each in bundled:
        try:
            require_usable(each)
        except MalformedError:
            if not may_be_others(each):
                raise
        else:
            yield each
