"""What files, folders and bundles say about this machine's evidence, for `run` and `explain`.

Nothing here is trusted: what goes along is judged by its endorsers' signatures, and a bundle is
taken of collectors who were named. What is about other machines stays here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console
from cloister.errors import CloisterError, ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.attestation.evidence import Endorsement, Evidence
    from cloister.crypto.signature import VerifyingKey
    from cloister.keyservice.clock import Clock
    from cloister.tee.endorsement_files import Given

__all__ = ["COLLECTOR", "GivenEndorsements", "given_endorsements"]

_LOG: Final = logging.getLogger(__name__)
_GPU: Final = "nvidia"

COLLECTOR = typer.Option(
    [], help="Whose bundles are taken, ed25519:…; default: your own collector's."
)


class GivenEndorsements:
    """What the user named, read again for each piece of evidence: a run may outlast its truth."""

    def __init__(
        self, paths: Sequence[Path], *, collectors: Collection[VerifyingKey], clock: Clock
    ) -> None:
        """Read them.

        Raises:
            ConfigError: One cannot be read, or is nothing that vouches.
            EndorsementError: A bundle is of a collector who was not named.
        """
        self._paths: Final = tuple(paths)
        self._collectors: Final = collectors
        self._clock: Final = clock
        self._given = self._read()

    def __call__(self, evidence: Evidence, kind: str) -> list[Endorsement]:
        """Return what is about a piece of evidence, of a kind; files are read again.

        Where that fails, what was read before goes on to be sent.
        """
        try:
            self._given = self._read()
        except CloisterError as e:
            detail = console.printable(e.detail or e.public)  # it may quote the file
            _LOG.error("endorsements.kept code=%s detail=%s", e.code, detail)
        return self._about(evidence, kind)

    def _about(self, evidence: Evidence, kind: str) -> list[Endorsement]:
        from cloister.endorsing.choosing import choose

        given, at = self._given, self._clock().at
        if kind == _GPU:  # a file may be about another GPU just as what is in a bundle
            return choose(evidence, kind, [*given.endorsements, *given.bundled], at=at)
        # Of what was named by itself the launcher takes what is about the evidence.
        bundled = choose(evidence, kind, given.bundled, at=at)
        return [*given.endorsements, *(e for e in bundled if e not in given.endorsements)]

    def _read(self) -> Given:
        from cloister.tee.endorsement_files import Given, read_endorsements

        found = Given()
        for path in self._paths:
            try:
                given = read_endorsements([path], collectors=self._collectors)
            except MalformedError as e:
                raise ConfigError(
                    f"{path} has something that vouches for no evidence: {e.public}",
                    code="config.value",
                    detail=e.detail,
                    hint="certificates, chains, revocation lists, collateral, RIMs, OCSP, bundles",
                ) from e
            if not given.endorsements and not given.bundled:
                raise ConfigError(f"{path} has no endorsements", code="config.value")
            found.add(given)
        return found


def given_endorsements(paths: Sequence[Path], collector: Sequence[str]) -> GivenEndorsements | None:
    """Return what the user named, of the collectors that he named; None where he named nothing.

    Raises:
        ConfigError: A file cannot be read, or a key is none.
        EndorsementError: A bundle is somebody else's (`endorsement.collector`).
    """
    if not paths:
        return None
    from cloister.cli.collecting import accepted
    from cloister.keyservice.clock import read_clock

    return GivenEndorsements(paths, collectors=accepted(collector), clock=read_clock)
