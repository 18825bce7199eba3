"""Endorsements in files: a key service's own, or those that a run sends along; read again at need.

A workload's host chooses what comes along with evidence; what the service has is what it cannot
hold back.

Spec: key-release-v1, clauses KR-100 to KR-104.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.errors import CloisterError, ConfigError, MalformedError

__all__ = ["OwnEndorsements"]

_LOG: Final = logging.getLogger(__name__)


class OwnEndorsements:
    """What files and folders hold; calling it gives what was read last."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read them.

        Raises:
            ConfigError: One cannot be read, or is nothing that releases are judged by.
        """
        self._paths: Final = tuple(paths)
        self._given = _read(self._paths)

    def __call__(self) -> tuple[Endorsement, ...]:
        """Return what was read last."""
        return self._given

    def fresh(self) -> tuple[Endorsement, ...]:
        """Read again, and return what is there now, or was before."""
        if self._paths:
            self.reload()
        return self._given

    def reload(self) -> None:
        """Read again; where that fails, what was read before goes on to count."""
        try:
            self._given = _read(self._paths)
        except CloisterError as e:
            _LOG.error("endorsements.kept code=%s detail=%s", e.code, e.detail or e.public)
        else:
            _LOG.info("endorsements.read count=%d", len(self._given))


def _read(paths: Sequence[Path]) -> tuple[Endorsement, ...]:
    if not paths:
        return ()
    # A service that has none of its own loads no reader of them.
    from cloister.tee.choice import require_usable  # noqa: PLC0415  # see above
    from cloister.tee.endorsement_files import read_endorsements  # noqa: PLC0415  # see above

    found: list[Endorsement] = []
    for path in paths:
        try:
            given = read_endorsements([path]).endorsements
            for each in given:
                require_usable(each)
        except MalformedError as e:
            raise ConfigError(
                f"{path} has something that no release is judged by: {e.public}",
                code="config.value",
                detail=e.detail,
                hint="Intel's collateral, AMD's certificates, chains and revocation lists",
            ) from e
        if not given:
            raise ConfigError(f"{path} has no endorsements", code="config.value")
        found += [each for each in given if each not in found]
    return tuple(found)
