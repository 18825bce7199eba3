"""Sources on loopback, a cache, and a clock that nobody waits for."""

from __future__ import annotations

import time
from pathlib import Path

from cloister.endorsing.asking import Asking, Patience, World
from cloister.endorsing.cache import Cache
from cloister.endorsing.intel import IntelWish
from cloister.endorsing.services import Services
from cloister.network.https import ask
from cloister.testing.endorsers import FakeEndorsers
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.vault import VaultAuthority

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
AUTHORITY = VaultAuthority(at=NOW)
INTEL = SimulatedIntel(b"seed", at=NOW)
MINTED = INTEL.mint(IntelCase("tdx5"))
WISH = IntelWish("tdx", bytes.fromhex("00906ed50000"), "platform")


class Timeless:
    """A world in which sleeping takes no time, and is written down."""

    def __init__(self, at: int = NOW) -> None:
        self.at = float(at)
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Go on at once, later."""
        self.slept.append(seconds)
        self.at += seconds

    @property
    def world(self) -> World:
        """What is injected."""
        return World(
            now=lambda: int(self.at),
            uptime=lambda: self.at,
            sleep=self.sleep,
            chance=lambda: 1.0,
        )


class Bench:
    """Sources, and somebody who asks them."""

    def __init__(self, endorsers: FakeEndorsers, folder: Path) -> None:
        self.endorsers = endorsers
        self.folder = folder
        self.time = Timeless()

    def asking(
        self,
        *,
        real: bool = False,
        offline: bool = False,
        anew: bool = False,
        authorities: bytes | None = AUTHORITY.pem,
        patience: Patience | None = None,
    ) -> Asking:
        """Somebody new, with the same cache; in real time where that is wanted."""
        self.time.at += anew  # an answer of the same second would be new
        return Asking(
            Services.of(self.endorsers.sources),
            Cache.open(self.folder),
            send=ask,
            authorities=authorities,
            world=World() if real else self.time.world,
            patience=patience or Patience(request_s=5.0),
            offline=offline,
            anew=anew,
        )
