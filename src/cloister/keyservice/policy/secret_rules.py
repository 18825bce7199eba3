"""What a policy says of secrets: kinds with their forms, epochs, exports, imports, and files.

Frozen; made by the policy's readers only. A rule describes a value; no value is ever in a policy.

Spec: secret-release-v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "COMES_LATER",
    "FETCHED",
    "PARTS",
    "AuthorityForm",
    "CertificateForm",
    "Exported",
    "ExportedToService",
    "ExternalForm",
    "FileRule",
    "ImportRule",
    "KeyPairForm",
    "OpaqueForm",
    "PasswordForm",
    "RemoteForm",
    "SecretForm",
    "SecretRule",
    "SymmetricForm",
]

# Kind to the parts that a template may name; "" is the value itself.
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "symmetric": ("", "hex", "base64"),
    "password": ("", "hex", "base64"),
    "opaque": ("", "hex", "base64"),
    "external": ("", "hex", "base64"),
    "remote": ("", "hex", "base64"),
    "key_pair": ("private", "public"),
    "authority": ("certificate", "public"),
    "certificate": ("private", "public", "certificate", "chain"),
}
_DEFAULT_MODE: Final = 0o400


@dataclass(frozen=True, slots=True, kw_only=True)
class SymmetricForm:
    """Random bytes."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordForm:
    """Random characters, each drawn uniformly from `alphabet`."""

    length: int
    alphabet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPairForm:
    """A key pair."""

    algorithm: Literal["ed25519", "ecdsa-p256", "x25519"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityForm:
    """A certificate authority, whose key stays in the key service."""

    common_name: str
    lifetime_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateForm:
    """A key with a certificate by an `authority` of the same policy; renewed while it is used."""

    authority: str
    lifetime_days: int
    dns: tuple[str, ...] | None = None
    spiffe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueForm:
    """Whatever its owner puts."""

    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalForm:
    """What another store keeps; the key service fetches it from a source of the namespace.

    Attributes:
        source: Its name, as the namespace's approvers registered it.
        path: Where the source has it, such as `secret/data/training/db`.
        field: Which value there.
        max_bytes: The longest value that is taken.
    """

    source: str
    path: str
    field: str
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteForm:
    """A secret of another key service's policy, which has to export it to this one.

    Attributes:
        source: The other service, as the namespace's approvers registered it.
        namespace: Of the policy there.
        policy: Its name.
        secret: The secret's name there.
        epoch: Which of its values; neither service takes another.
        part: Which part of it; absent is the value itself.
        max_bytes: The longest value that is taken.
    """

    source: str
    namespace: str
    policy: str
    secret: str
    epoch: int
    max_bytes: int
    part: Literal["private", "public", "certificate"] | None = None


SecretForm = (
    SymmetricForm
    | PasswordForm
    | KeyPairForm
    | AuthorityForm
    | CertificateForm
    | OpaqueForm
    | ExternalForm
    | RemoteForm
)
# Kinds whose value the service does not make when a policy is applied: it comes later.
FETCHED: Final = frozenset({"external", "remote"})
COMES_LATER: Final = FETCHED | {"opaque"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A policy that may import a secret."""

    namespace: str
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedToService:
    """A policy of another key service that may have a secret, and what that service must prove.

    Attributes:
        service: The other service's identity.
        trust_domain: Its trust domain's name.
        namespace: Of the policy there.
        policy: Its name.
        root_of_trust: The kind of its evidence.
        anchors: Platforms that may vouch for it.
        measurement: Images of Cloister that it may run.
        minimum_svn: Lowest security version of its platform.
        debug: Whether its platform may be inspected.
        lifetime: Seconds for which it may use a value before it has to ask again.
    """

    service: str
    trust_domain: str
    namespace: str
    policy: str
    root_of_trust: Literal["sim"]
    anchors: tuple[str, ...]
    measurement: tuple[str, ...]
    minimum_svn: int
    debug: Literal["refused", "accepted"]
    lifetime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRule:
    """A secret of another policy, which has to export it."""

    namespace: str
    policy: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRule:
    """One secret; exactly one kind is there.

    Attributes:
        symmetric: See `SymmetricForm`; so for the other kinds.
        password: A password.
        key_pair: A key pair.
        authority: A certificate authority.
        certificate: A certificate with its key.
        opaque: A value that its owner puts.
        external: A value that another store keeps.
        remote: A secret of another key service; it cannot be exported on.
        epoch: Raise it for a new value; absent is 1.
        readable: Older epochs that still resolve; every other one is erased.
        export: Policies that may import it, of this key service or of others.
    """

    symmetric: SymmetricForm | None = None
    password: PasswordForm | None = None
    key_pair: KeyPairForm | None = None
    authority: AuthorityForm | None = None
    certificate: CertificateForm | None = None
    opaque: OpaqueForm | None = None
    external: ExternalForm | None = None
    remote: RemoteForm | None = None
    epoch: int | None = None
    readable: tuple[int, ...] | None = None
    export: tuple[Exported | ExportedToService, ...] | None = None

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return next(kind for kind in PARTS if getattr(self, kind) is not None)

    @property
    def form(self) -> SecretForm:
        """What the kind says of the value."""
        form: SecretForm = getattr(self, self.kind)
        return form

    @property
    def current(self) -> int:
        """The epoch that a template without one means."""
        return 1 if self.epoch is None else self.epoch

    @property
    def epochs(self) -> tuple[int, ...]:
        """Every epoch that resolves, the current one first."""
        return (self.current, *(self.readable or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """A file that the workload finds, in memory only.

    Attributes:
        content: Its text, a template where the policy has secrets.
        mode: Permission bits in octal; absent is `0400`.
    """

    content: str
    mode: str | None = None

    @property
    def bits(self) -> int:
        """The permission bits."""
        return _DEFAULT_MODE if self.mode is None else int(self.mode, 8)
