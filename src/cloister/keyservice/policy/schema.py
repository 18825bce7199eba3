"""What each field of a policy may hold: one table, used for YAML and for canonical bytes alike.

A `Kind` turns a tree into a value, or notes why it cannot, with the place and a sentence that says
what is allowed. It never stops at the first problem, and never guesses.

Spec: release-policy-v1, clauses POL-10 to POL-15.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cloister.keyservice.policy.model import (
    Access,
    Board,
    Charter,
    CodeDigests,
    CodeVolume,
    Instances,
    Listener,
    Mount,
    Output,
    Policy,
    Quotas,
    RootsOfTrust,
    SimRoot,
    Unchecked,
    VolumeRule,
    Workload,
)
from cloister.keyservice.policy.node import (
    CONTROL,
    IntegerNode,
    ListNode,
    MapNode,
    Node,
    Problems,
    TextNode,
    UnusableNode,
    join,
    quote,
)
from cloister.keyservice.policy.secret_rules import (
    AuthorityForm,
    CertificateForm,
    Exported,
    ExportedToService,
    ExternalForm,
    FileRule,
    ImportRule,
    KeyPairForm,
    OpaqueForm,
    PasswordForm,
    RemoteForm,
    SecretRule,
    SymmetricForm,
)

__all__ = ["CHARTER", "POLICY", "Kind", "read_charter", "read_policy"]


class _Unreadable:
    """Stands for a value that could not be read; its problem has been noted."""


_UNREADABLE: Final = _Unreadable()


class Kind(Protocol):
    """What a place in a policy may hold."""

    @property
    def allowed(self) -> str:
        """What is allowed, as the object of a sentence."""
        ...

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Return the value, or `_UNREADABLE` after noting at least one problem."""
        ...


@dataclass(frozen=True, slots=True)
class _Text:
    allowed: str
    pattern: re.Pattern[str]
    max_length: int
    min_length: int = 1

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if isinstance(node, IntegerNode):
            return _refuse(
                node, path, problems, self.allowed, hint=f'put it in quotes: "{node.number}"'
            )
        if not isinstance(node, TextNode):
            return _refuse(node, path, problems, self.allowed)
        if not self.min_length <= len(node.text) <= self.max_length:
            found = f"a text of {len(node.text)} characters"
            return _refuse(node, path, problems, self.allowed, found=found)
        if CONTROL.search(node.text) or not self.pattern.fullmatch(node.text):
            return _refuse(node, path, problems, self.allowed, hint=self._hint(node.text))
        return node.text

    def _hint(self, text: str) -> str:
        lowered = text.lower()
        fits = lowered != text and self.pattern.fullmatch(lowered) is not None
        return f"lower case would do: {quote(lowered)}" if fits else ""


@dataclass(frozen=True, slots=True)
class _Choice:
    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(quote(word) for word in self.words)

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if isinstance(node, TextNode) and node.text in self.words:
            return node.text
        hint = _did_you_mean(node.text, self.words) if isinstance(node, TextNode) else ""
        return _refuse(node, path, problems, self.allowed, hint=hint)


@dataclass(frozen=True, slots=True)
class _Integer:
    minimum: int
    maximum: int

    @property
    def allowed(self) -> str:
        return f"an integer from {self.minimum} to {self.maximum}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if isinstance(node, IntegerNode) and self.minimum <= node.number <= self.maximum:
            return node.number
        return _refuse(node, path, problems, self.allowed)


@dataclass(frozen=True, slots=True)
class _List:
    item: Kind
    maximum: int
    what: str
    unique: bool = True
    minimum: int = 1

    @property
    def allowed(self) -> str:
        return f"a list of {self.minimum} to {self.maximum} {self.what}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if not isinstance(node, ListNode):
            hint = "write it as a list: [ ... ]" if isinstance(node, TextNode | IntegerNode) else ""
            return _refuse(node, path, problems, self.allowed, hint=hint)
        if not self.minimum <= len(node.items) <= self.maximum:
            return _refuse(node, path, problems, self.allowed, found=f"a list of {len(node.items)}")
        values: list[object] = []
        for index, item in enumerate(node.items):
            place = f"{path}[{index}]"
            problems.positions[place] = (item.line, item.column)
            value = self.item.read(item, place, problems)
            if self.unique and value is not _UNREADABLE and value in values:
                problems.add(item, place, message="stands in this list twice")
            values.append(value)
        return _UNREADABLE if _UNREADABLE in values else tuple(values)


@dataclass(frozen=True, slots=True)
class _Map:
    key: _Text
    value: Kind
    maximum: int
    what: str
    minimum: int = 0

    @property
    def allowed(self) -> str:
        return f"a map of {self.minimum} to {self.maximum} {self.what}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if not isinstance(node, MapNode):
            return _refuse(node, path, problems, self.allowed, hint="for none, write {}")
        if not self.minimum <= len(node.entries) <= self.maximum:
            return _refuse(
                node, path, problems, self.allowed, found=f"a map of {len(node.entries)}"
            )
        values: dict[str, object] = {}
        readable = True
        for key, item in node.entries:
            place = join(path, key.text)
            problems.positions[place] = (key.line, key.column)
            readable = self.key.read(key, place, problems) is not _UNREADABLE and readable
            values[key.text] = self.value.read(item, place, problems)
        readable = readable and not any(value is _UNREADABLE for value in values.values())
        return values if readable else _UNREADABLE


@dataclass(frozen=True, slots=True)
class _Record:
    make: Callable[..., object]
    what: str
    fields: Mapping[str, Kind]
    optional: frozenset[str] = frozenset()
    wrong: Callable[[Any], str] = lambda _: ""

    @property
    def allowed(self) -> str:
        return f"a map that describes {self.what}: {', '.join(self.fields)}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if not isinstance(node, MapNode):
            return _refuse(node, path, problems, self.allowed)
        readable = self._names_are_known(node, path, problems)
        values: dict[str, object] = {}
        for name, kind in self.fields.items():
            entry = next((entry for entry in node.entries if entry[0].text == name), None)
            if entry is not None:
                place = join(path, name)
                problems.positions[place] = (entry[0].line, entry[0].column)
                values[name] = kind.read(entry[1], place, problems)
            elif name not in self.optional:
                problems.add(
                    node,
                    path,
                    message=f"the key {quote(name)} is missing; it takes {kind.allowed}",
                )
                readable = False
        if not readable or any(value is _UNREADABLE for value in values.values()):
            return _UNREADABLE
        made = self.make(**values)
        if problem := self.wrong(made):
            problems.add(node, path, message=problem)
            return _UNREADABLE
        return made

    def _names_are_known(self, node: MapNode, path: str, problems: Problems) -> bool:
        strangers = [key for key, _ in node.entries if key.text not in self.fields]
        absent = [name for name in self.fields if node.get(name) is None]
        for key in strangers:
            hint = _did_you_mean(key.text, absent)
            known = f"known here: {', '.join(self.fields)}"
            problems.add(key, join(path, key.text), message=f"unknown key; {known}", hint=hint)
        return not strangers


@dataclass(frozen=True, slots=True)
class _OrUnchecked:
    """A check: its value, or the reason why it is left out."""

    kind: Kind

    @property
    def allowed(self) -> str:
        return f"{self.kind.allowed}, or {{unchecked: <reason>}}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if isinstance(node, MapNode):
            return _UNCHECKED.read(node, path, problems)
        if isinstance(node, TextNode) and node.text == "unchecked":
            return _refuse(
                node, path, problems, self.allowed, hint="a reason is needed: {unchecked: <reason>}"
            )
        return self.kind.read(node, path, problems)


@dataclass(frozen=True, slots=True)
class _ByKey:
    """One of several records, told apart by a key that only it has."""

    records: Mapping[str, _Record]

    @property
    def allowed(self) -> str:
        return " or ".join(f"{{{key}: …}}" for key in self.records)

    def read(self, node: Node, path: str, problems: Problems) -> object:
        if isinstance(node, MapNode):
            found = [record for key, record in self.records.items() if node.get(key) is not None]
            if len(found) == 1:
                return found[0].read(node, path, problems)
        return _refuse(node, path, problems, f"exactly one of {self.allowed}")


@dataclass(frozen=True, slots=True)
class _Marked:
    """One of two records: with the key that marks it one, without it the other."""

    key: str
    marked: _Record
    plain: _Record

    @property
    def allowed(self) -> str:
        return f"{self.plain.allowed}; or {self.marked.allowed}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        marked = isinstance(node, MapNode) and node.get(self.key) is not None
        return (self.marked if marked else self.plain).read(node, path, problems)


def read_policy(root: Node, problems: Problems) -> Policy | None:
    """Return the policy that a tree says, or None after noting every reason why it says none."""
    value = POLICY.read(root, "", problems)
    return value if isinstance(value, Policy) and not problems.found else None


def read_charter(root: Node, problems: Problems) -> Charter | None:
    """Return the charter that a tree says, or None after noting every reason why it says none."""
    value = CHARTER.read(root, "", problems)
    return value if isinstance(value, Charter) and not problems.found else None


def _refuse(
    node: Node, path: str, problems: Problems, allowed: str, *, found: str = "", hint: str = ""
) -> _Unreadable:
    if isinstance(node, UnusableNode):
        found, hint = node.what, hint or node.hint
    problems.add(node, path, message=f"expected {allowed}; found {found or _name(node)}", hint=hint)
    return _UNREADABLE


def _name(node: Node) -> str:
    if isinstance(node, TextNode):
        return quote(node.text)
    if isinstance(node, IntegerNode):
        return f"the number {node.number}"
    return "a list" if isinstance(node, ListNode) else "a map"


def _did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake pays for it

    close = get_close_matches(word[:64], known, n=1)
    return f"did you mean {quote(close[0])}?" if close else ""


def _text(allowed: str, pattern: str, *, max_length: int, min_length: int = 1) -> _Text:
    return _Text(allowed, re.compile(pattern, re.DOTALL), max_length, min_length)


_HEX64: Final = "[0-9a-f]{64}"
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}"

_NAME: Final = _text(
    "a name of 1 to 63 lower-case letters, digits, dots, underscores and hyphens that begins "
    "with a letter or digit",
    "[a-z0-9][a-z0-9._-]*",
    max_length=63,
)
_NAMESPACE: Final = _text(
    "a namespace, 1 to 4 names separated by /",
    r"[a-z0-9][a-z0-9._-]{0,62}(?:/[a-z0-9][a-z0-9._-]{0,62}){0,3}",
    max_length=255,
)
_CHARTERED: Final = _text(
    "a namespace, 1 to 4 names separated by /, or '/' for the root",
    f"/|{_NAMESPACE.pattern.pattern}",
    max_length=255,
)
_DIGEST: Final = _text(
    "a digest, sha256: and 64 lower-case hex digits", f"sha256:{_HEX64}", max_length=71
)
_KEY: Final = _text(
    "a public key, ed25519: and 64 lower-case hex digits", f"ed25519:{_HEX64}", max_length=72
)
_VOLUME_ID: Final = _text(
    "a volume's identity, 32 lower-case hex digits", "[0-9a-f]{32}", max_length=32
)
_ROOT: Final = _text(
    "'latest', or one state as sha256: and 64 lower-case hex digits",
    f"latest|sha256:{_HEX64}",
    max_length=71,
)
_PREDECESSOR: Final = _text(
    "'none', or the hash of the policy that this one replaces as sha256: and 64 lower-case hex "
    "digits",
    f"none|sha256:{_HEX64}",
    max_length=71,
)
_LOCATION: Final = _text("a path of 1 to 1024 characters", ".*", max_length=1024)
_MOUNT_POINT: Final = _text(
    "an absolute path of 1 to 8 parts of letters, digits, dots, underscores and hyphens, "
    "without . and ..",
    f"(?:/{_SEGMENT}){{1,8}}",
    max_length=520,
)
_ARGUMENT: Final = _text("a text of 1 to 4096 characters", ".*", max_length=4096)
_VARIABLE: Final = _text(
    "the name of a variable: letters, digits and underscores, not beginning with a digit",
    "[A-Za-z_][A-Za-z0-9_]*",
    max_length=128,
)
_VALUE: Final = _text("a text of at most 4096 characters", ".*", max_length=4096, min_length=0)
_SPIFFE_ID: Final = _text(
    "a SPIFFE ID, spiffe://<trust domain>/<namespace>/<policy>/<role>/<instance or *>",
    rf"spiffe://[a-z0-9._-]{{1,255}}(?:/{_SEGMENT}){{3,6}}/(?:\*|{_SEGMENT})",
    max_length=800,
)
_REASON: Final = _text("a reason of 8 to 300 characters", ".*", max_length=300, min_length=8)

_UNCHECKED: Final = _Record(Unchecked, "a check that is left out", {"unchecked": _REASON})
_DIGESTS: Final = _List(_DIGEST, 64, "digests (sha256:…)")

_SIM: Final = _Record(
    SimRoot,
    "what simulated evidence must say",
    {
        "anchors": _List(_KEY, 64, "public keys (ed25519:…)"),
        "measurement": _OrUnchecked(_DIGESTS),
        "minimum_svn": _OrUnchecked(_Integer(0, 65535)),
        "debug": _Choice(("refused", "accepted")),
    },
)
_VOLUME: Final = _Record(
    VolumeRule,
    "a volume",
    {"id": _VOLUME_ID, "root": _ROOT, "location": _LOCATION},
    optional=frozenset({"location"}),
)
_CODE: Final = _ByKey(
    {
        "volume": _Record(CodeVolume, "code in a volume", {"volume": _NAME}),
        "digests": _Record(CodeDigests, "code in plain", {"digests": _DIGESTS}),
    }
)
_LISTENER: Final = _Record(
    Listener,
    "a listener",
    {
        "port": _Integer(0, 65535),
        "clients": _OrUnchecked(_List(_SPIFFE_ID, 256, "SPIFFE IDs")),
    },
)
_SECRET_NAME: Final = _text(
    "a secret's name of 1 to 63 lower-case letters, digits, underscores and hyphens that begins "
    "with a letter or digit",
    "[a-z0-9][a-z0-9_-]*",
    max_length=63,
)
_EPOCH: Final = _Integer(1, 999_999_999)
_DAYS: Final = _Integer(1, 36_500)
_ALPHABET: Final = _text(
    "10 to 94 different printable ASCII characters",
    r"(?:([!-~])(?!.*\1))*",
    max_length=94,
    min_length=10,
)
_DNS_NAME: Final = _text(
    "a DNS name, with *. before it for any host below it",
    r"(?:\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    max_length=253,
)
_ANY_SPIFFE_ID: Final = _text(
    "a SPIFFE ID, spiffe://<trust domain>/<path>",
    rf"spiffe://[a-z0-9._-]{{1,255}}(?:/{_SEGMENT}){{1,8}}",
    max_length=600,
)
_CERTIFICATE: Final = _Record(
    CertificateForm,
    "a certificate",
    {
        "authority": _SECRET_NAME,
        "lifetime_days": _DAYS,
        "dns": _List(_DNS_NAME, 16, "DNS names"),
        "spiffe": _ANY_SPIFFE_ID,
    },
    optional=frozenset({"dns", "spiffe"}),
)
# A segment of a path in another store; never . or .., so that nobody reads it in two ways.
_STORED: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]{1,128}"
_SECRET_KINDS: Final[Mapping[str, Kind]] = {
    "symmetric": _Record(SymmetricForm, "random bytes", {"bytes": _Integer(16, 1024)}),
    "password": _Record(
        PasswordForm, "a password", {"length": _Integer(8, 256), "alphabet": _ALPHABET}
    ),
    "key_pair": _Record(
        KeyPairForm, "a key pair", {"algorithm": _Choice(("ed25519", "ecdsa-p256", "x25519"))}
    ),
    "authority": _Record(
        AuthorityForm,
        "a certificate authority",
        {
            "common_name": _text("a text of 1 to 64 characters", ".*", max_length=64),
            "lifetime_days": _DAYS,
        },
    ),
    "certificate": _CERTIFICATE,
    "opaque": _Record(
        OpaqueForm, "a value that its owner puts", {"max_bytes": _Integer(1, 65_536)}
    ),
    "external": _Record(
        ExternalForm,
        "a value that another store keeps",
        {
            "source": _NAME,
            "path": _text(
                "a path of a KV version 2 store, MOUNT/data/PATH, of letters, digits and _ . -",
                rf"{_STORED}(?:/{_STORED})*/data/{_STORED}(?:/{_STORED})*",
                max_length=512,
            ),
            "field": _text(
                "a field of 1 to 128 letters, digits and _ . -", "[A-Za-z0-9_.-]*", max_length=128
            ),
            "max_bytes": _Integer(1, 65_536),
        },
    ),
    "remote": _Record(
        RemoteForm,
        "a secret of another key service",
        {
            "source": _NAME,
            "namespace": _NAMESPACE,
            "policy": _NAME,
            "secret": _SECRET_NAME,
            "epoch": _EPOCH,
            "part": _Choice(("private", "public", "certificate")),
            "max_bytes": _Integer(1, 65_536),
        },
        optional=frozenset({"part"}),
    ),
}
_EXPORTED_TO_SERVICE: Final = _Record(
    ExportedToService,
    "a policy of another key service",
    {
        "service": _KEY,
        "trust_domain": _text(
            "a trust domain's name of 1 to 62 lower-case letters, digits, dots and hyphens",
            "[a-z0-9](?:[a-z0-9.-]{0,60}[a-z0-9])?",
            max_length=62,
        ),
        "namespace": _NAMESPACE,
        "policy": _NAME,
        "root_of_trust": _Choice(("sim",)),
        "anchors": _List(_KEY, 64, "public keys (ed25519:…)"),
        "measurement": _DIGESTS,
        "minimum_svn": _Integer(0, 65535),
        "debug": _Choice(("refused", "accepted")),
        "lifetime": _Integer(600, 31_536_000),
    },
)
_SECRET_EXTRAS: Final[Mapping[str, Kind]] = {
    "epoch": _EPOCH,
    "readable": _List(_EPOCH, 8, "epochs"),
    "export": _List(
        _Marked(
            "service",
            _EXPORTED_TO_SERVICE,
            _Record(Exported, "a policy", {"namespace": _NAMESPACE, "policy": _NAME}),
        ),
        32,
        "policies",
    ),
}
# What another service exports is for one policy here: nothing passes it on.
_NOT_OF_REMOTE: Final = frozenset({"export"})


def _extras(kind: str) -> dict[str, Kind]:
    left_out = _NOT_OF_REMOTE if kind == "remote" else frozenset()
    return {name: value for name, value in _SECRET_EXTRAS.items() if name not in left_out}


_SECRET: Final = _ByKey(
    {
        name: _Record(
            SecretRule,
            "a secret",
            {name: kind, **_extras(name)},
            optional=frozenset(_extras(name)),
        )
        for name, kind in _SECRET_KINDS.items()
    }
)
_IMPORT: Final = _Record(
    ImportRule,
    "a secret of another policy",
    {"namespace": _NAMESPACE, "policy": _NAME, "secret": _SECRET_NAME},
)
_FILE: Final = _Record(
    FileRule,
    "a file",
    {
        "content": _text(
            "a text of at most 65536 characters", ".*", max_length=65_536, min_length=0
        ),
        "mode": _text(
            "permission bits in octal and in quotes, such as '0400'", "0[0-7]{3}", max_length=4
        ),
    },
    optional=frozenset({"mode"}),
)
_WORKLOAD: Final = _Record(
    Workload,
    "a workload",
    {
        "code": _CODE,
        "runtime": _OrUnchecked(_DIGESTS),
        "command": _List(_ARGUMENT, 256, "arguments", unique=False),
        "environment": _Map(_VARIABLE, _VALUE, 256, "variables"),
        "volumes": _Map(
            _MOUNT_POINT,
            _Record(Mount, "a mount", {"volume": _NAME, "access": _Choice(("read", "write"))}),
            32,
            "mount points",
        ),
        "listen": _Map(_NAME, _LISTENER, 8, "listeners"),
        "output": _Record(Output, "what may be seen", {"logs": _Choice(("pass", "drop"))}),
        "files": _Map(_MOUNT_POINT, _FILE, 64, "files", minimum=1),
        "instances": _Record(Instances, "how many there may be", {"maximum": _Integer(1, 1000)}),
    },
    optional=frozenset({"files", "instances"}),
)


def _threshold_is_too_high(board: Board | Charter) -> str:
    enough = board.threshold <= len(board.approvers)
    return "" if enough else "the threshold is higher than the number of approvers"


_BOARD: Final[Mapping[str, Kind]] = {
    "approvers": _List(_KEY, 32, "public keys (ed25519:…)"),
    "threshold": _Integer(1, 32),
    "timeout": _Integer(60, 7_776_000),
}
_READERS: Final = _List(_KEY, 32, "public keys (ed25519:…)", minimum=0)
POLICY: Final = _Record(
    Policy,
    "a policy",
    {
        "policy": _Choice(("cloister/v1",)),
        "name": _NAME,
        "namespace": _NAMESPACE,
        "predecessor": _PREDECESSOR,
        "roots_of_trust": _Record(
            RootsOfTrust, "the accepted roots of trust", {"sim": _SIM}, optional=frozenset({"sim"})
        ),
        "volumes": _Map(_NAME, _VOLUME, 64, "volumes"),
        "workloads": _Map(_NAME, _WORKLOAD, 64, "workloads", minimum=1),
        "approval": _Record(
            Board, "who approves a successor", _BOARD, wrong=_threshold_is_too_high
        ),
        "access": _Record(Access, "who may read", {"readers": _READERS}),
        "secrets": _Map(_SECRET_NAME, _SECRET, 64, "secrets", minimum=1),
        "imports": _Map(_SECRET_NAME, _IMPORT, 64, "imports", minimum=1),
        "certificate_lifetime": _Integer(60, 86400),
    },
    optional=frozenset({"approval", "access", "secrets", "imports", "certificate_lifetime"}),
)
CHARTER: Final = _Record(
    Charter,
    "a charter",
    {
        "charter": _Choice(("cloister/namespace/v1",)),
        "namespace": _CHARTERED,
        "predecessor": _PREDECESSOR,
        **_BOARD,
        "readers": _READERS,
        "quotas": _Record(
            Quotas,
            "quotas",
            {
                "policies": _Integer(0, 1_000_000),
                "volumes": _Integer(0, 1_000_000),
                "secrets": _Integer(0, 1_000_000),
                "members": _Integer(0, 1_000_000),
                "requests_per_minute": _Integer(1, 1_000_000),
            },
        ),
    },
    wrong=_threshold_is_too_high,
)
