"""A trust domain as a directory: what `cloister init` makes and every other command loads.

    domain.json      public: names and public keys that clients pin
    owner/owner.key  secret: the owner's Ed25519 seed
    keyservice/      the key service's encrypted state
    platform/        the simulated platform
    recovery/        shares of the state key, each sealed to its holder, where it was split at once

Invariants:
    1. `create` makes all of it or nothing: it builds beside the target and renames, and takes away
       the parent folders that it made where that fails.
    2. Secrets are 0600 in directories of 0700; loading refuses anything wider.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.crypto.digest import digest_from_text, digest_to_text
from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.genuine import ServiceReference
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform, read_secret_file, write_secret_file

__all__ = ["EMBEDDED_URL", "TrustDomain", "log_origin", "missing_parents"]

EMBEDDED_URL: Final = "embedded"
_FORMAT: Final = "cloister/domain/v1"
_KEYS: Final = {
    "format", "name", "url", "identity", "hpke", "ca", "owner", "anchors", "service"
}  # fmt: skip
_SERVICE_KEYS: Final = {"root_of_trust", "measurement", "minimum_svn", "debug"}
_MAX_BYTES: Final = 65536
_SEED_BYTES: Final = 32
_CA_LIFETIME_S: Final = 10 * 365 * 86400
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?")


def log_origin(trust_domain: str) -> str:
    """Return the name of a trust domain's log, as its checkpoints carry it."""
    return f"{trust_domain}/cloister-log"


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The public facts of a trust domain, and where its parts lie.

    Attributes:
        directory: Where it was loaded from.
        name: Its name, in every SPIFFE ID.
        url: `http://host:port`, `unix:///path`, or `embedded` for one started on demand.
        identity: The key service's public key: what clients pin.
        hpke: The key that volume keys are sealed to.
        ca: PEM of the certificate authority.
        owner: The owner's public key.
        anchors: Root of trust to the platforms of this domain, such as `sim`.
        service: What the key service must prove to run.
    """

    directory: Path
    name: str
    url: str
    identity: VerifyingKey
    hpke: HPKEPublicKey
    ca: bytes
    owner: VerifyingKey
    anchors: dict[str, tuple[VerifyingKey, ...]]
    service: ServiceReference

    @property
    def origin(self) -> str:
        """The name of the domain's log."""
        return log_origin(self.name)

    @property
    def keyservice_directory(self) -> Path:
        """Where the key service keeps its state."""
        return self.directory / "keyservice"

    def platform(self) -> SimPlatform:
        """Load the simulated platform."""
        return SimPlatform.load(self.directory / "platform")

    def owner_key(self) -> SigningKey:
        """Load the owner's key.

        Raises:
            ConfigError: Missing, open to others, or not this domain's.
        """
        path = self.directory / "owner" / "owner.key"
        if not path.exists():
            raise ConfigError(
                f"this needs the owner's key, and {path} is not here",
                code="config.missing",
                hint="do it on the owner's machine, in the folder that cloister init made",
            )
        seed = read_secret_file(path, max_bytes=_SEED_BYTES)
        wrong = ConfigError("owner.key is not the key of this domain's owner", code="config.file")
        if len(seed) != _SEED_BYTES:
            raise wrong
        key = SigningKey(seed)
        if key.public != self.owner:
            raise wrong
        return key

    @classmethod
    def create(
        cls,
        directory: Path,
        name: str,
        *,
        moment: Moment,
        image: bytes | None = None,
        url: str = EMBEDDED_URL,
        database: str = "",
    ) -> TrustDomain:
        """Make a new trust domain in a directory that is not there yet, or is empty.

        Args:
            directory: Its missing parent folders are made too, 0700.
            name: Lower-case letters, digits, dots and dashes.
            moment: Now; the certificate authority's lifetime starts here.
            image: What the key service is pinned to run, as `installed_image` measured it in this
                very process; None measures now.
            url: Where clients find the key service.
            database: `postgresql://` address for the key service's state; empty to keep it in the
                directory. An empty database that exists; nothing else is put there.

        Raises:
            ConfigError: The name is none, or the directory or the database is in use.
            UnavailableError: The database does not answer.
        """
        if _NAME.fullmatch(name) is None:
            raise ConfigError(
                f"{name!r} is not a name for a trust domain",
                code="config.value",
                hint="use lower-case letters, digits, dots and dashes",
            )
        if database and url == EMBEDDED_URL:
            raise ConfigError(
                "a key service whose state is in a database has an address of its own",
                code="config.value",
                hint="--url http://HOST:PORT of the key service or of the load balancer before it",
            )
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(
                f"{directory} is in use already",
                code="config.exists",
                hint="name a new folder: cloister init DIRECTORY",
            )
        with ExitStack() as undo:
            try:
                for folder in missing_parents(directory):
                    folder.mkdir(mode=0o700)
                    undo.callback(_remove_empty, folder)
                building = Path(tempfile.mkdtemp(prefix=".cloister-init-", dir=directory.parent))
            except OSError as e:
                raise ConfigError(
                    f"cannot write in {directory.parent}: {e.strerror}", code="config.file"
                ) from e
            undo.callback(shutil.rmtree, building, ignore_errors=True)
            measured = installed_image() if image is None else image
            _build(building, name, moment, measured, url=url, database=database)
            building.replace(directory)
            undo.pop_all()
        return cls.load(directory)

    def pin_service(self, measurements: Sequence[bytes]) -> TrustDomain:
        """Replace the images that the key service may run; the owner's decision, as a whole file.

        Raises:
            ConfigError: domain.json cannot be replaced.
        """
        texts = [digest_to_text(each) for each in measurements]
        return self._pin(lambda facts: facts["service"].update(measurement=texts))

    def pin_platforms(self, anchors: Sequence[VerifyingKey]) -> TrustDomain:
        """Replace the platforms that the key service may run on; likewise.

        Raises:
            ConfigError: domain.json cannot be replaced.
        """
        root, texts = self.service.root_of_trust, [key.text for key in anchors]
        return self._pin(lambda facts: facts["anchors"].update({root: texts}))

    def _pin(self, change: Callable[[dict[str, Any]], None]) -> TrustDomain:
        path = self.directory / "domain.json"
        try:
            facts = json.loads(path.read_bytes())
            change(facts)
            fresh = path.with_suffix(".json.new")
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(facts, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ConfigError(f"{path} cannot be replaced", code="config.file") from e
        return self.load(self.directory)

    @classmethod
    def load(cls, directory: Path) -> TrustDomain:
        """Read a trust domain's public facts.

        Raises:
            ConfigError: No trust domain there, or domain.json is none (`config.file`).
        """
        path = directory / "domain.json"
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as e:
            raise ConfigError(
                f"no trust domain in {directory}: {e.strerror}",
                code="config.missing",
                hint="make one with cloister init, or name yours with --domain or CLOISTER_DOMAIN",
            ) from e
        return _read(directory, data)


def missing_parents(directory: Path) -> tuple[Path, ...]:
    """Return the folders above `directory` that are not there, outermost first."""
    return tuple(folder for folder in reversed(directory.parents) if not folder.exists())


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _build(
    directory: Path, name: str, moment: Moment, image: bytes, *, url: str, database: str
) -> None:
    # Imported here: making a domain needs the database library, using one does not.
    from cloister.keyservice.founding import found_service  # noqa: PLC0415  # see above

    for part in ("owner", "keyservice"):
        (directory / part).mkdir(mode=0o700)
    platform = SimPlatform.create(directory / "platform", svn=1, debug=False)
    owner = SigningKey.generate()
    write_secret_file(directory / "owner" / "owner.key", owner.to_secret())
    service = found_service(
        directory / "keyservice",
        platform,
        owner=owner.public,
        trust_domain=name,
        at=moment.at,
        ca_lifetime_s=_CA_LIFETIME_S,
        database=database,
    )
    facts = {
        "format": _FORMAT,
        "name": name,
        "url": url,
        "identity": service.identity.text,
        "hpke": "hpke:" + service.hpke.raw.hex(),
        "ca": service.ca.decode(),
        "owner": owner.public.text,
        "anchors": {"sim": [platform.anchor.text]},
        "service": {
            "root_of_trust": "sim",
            "measurement": [digest_to_text(image)],
            "minimum_svn": platform.svn,
            "debug": "refused",
        },
    }
    path = directory / "domain.json"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(fd)


def _read(directory: Path, data: bytes) -> TrustDomain:
    wrong = ConfigError(
        f"{directory / 'domain.json'} is not a trust domain of this version", code="config.file"
    )
    if len(data) > _MAX_BYTES:
        raise wrong
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise wrong from e
    if not isinstance(facts, dict) or set(facts) != _KEYS or facts["format"] != _FORMAT:
        raise wrong
    texts = [facts[key] for key in ("name", "url", "identity", "hpke", "ca", "owner")]
    if not all(isinstance(text, str) for text in texts) or _NAME.fullmatch(facts["name"]) is None:
        raise wrong
    try:
        anchors = _read_anchors(facts["anchors"])
        return TrustDomain(
            directory=directory,
            name=facts["name"],
            url=facts["url"],
            identity=VerifyingKey.from_text(facts["identity"]),
            hpke=HPKEPublicKey(bytes.fromhex(facts["hpke"].removeprefix("hpke:"))),
            ca=facts["ca"].encode(),
            owner=VerifyingKey.from_text(facts["owner"]),
            anchors=anchors,
            service=_read_reference(facts["service"], anchors),
        )
    except (MalformedError, ValueError) as e:
        raise wrong from e


def _read_anchors(value: Any) -> dict[str, tuple[VerifyingKey, ...]]:
    anchors: dict[str, tuple[VerifyingKey, ...]] = {}
    if not isinstance(value, dict):
        raise MalformedError("anchors are a map", code="message.malformed")
    for root, keys in value.items():
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise MalformedError("anchors are lists of keys", code="message.malformed")
        anchors[root] = tuple(VerifyingKey.from_text(key) for key in keys)
    return anchors


def _read_reference(value: Any, anchors: dict[str, tuple[VerifyingKey, ...]]) -> ServiceReference:
    wrong = MalformedError("not a reference for the key service", code="message.malformed")
    if not isinstance(value, dict) or set(value) != _SERVICE_KEYS:
        raise wrong
    root, measurement = value["root_of_trust"], value["measurement"]
    svn, debug = value["minimum_svn"], value["debug"]
    if root not in anchors or not isinstance(measurement, list) or type(svn) is not int:
        raise wrong
    if debug not in {"refused", "accepted"} or not all(isinstance(m, str) for m in measurement):
        raise wrong
    return ServiceReference(
        root_of_trust=root,
        anchors=anchors[root],
        measurements=tuple(digest_from_text(text) for text in measurement),
        minimum_svn=svn,
        debug=debug == "accepted",
    )
