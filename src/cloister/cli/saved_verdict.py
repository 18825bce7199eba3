"""The record that `evidence verify --json` prints, read back. Nobody signed it.

Whoever explains from such a file takes it at its word; no verdict comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import Field, Form
from cloister.errors import ConfigError
from cloister.wire import Value

__all__ = ["SavedVerdict", "read_saved"]

_MAX_BYTES: Final = 1 << 20
_OWN: Final = frozenset(
    {
        "measurement",
        "report_data",
        "debug",
        "security_version",
        "status",
        "advisories",
        "hardware_id",
    }
)


@dataclass(frozen=True, slots=True)
class SavedVerdict:
    """What a record says.

    Attributes:
        verdict: `accept` or `reject`, as it was.
        kind: The kind of the evidence; empty where it was not known to be genuine.
        reasons: Code, detail, expected and found of each reason.
        not_checked: Claim to reason.
        claims: As JSON has them; empty where it was not known to be genuine.
        hardware_rooted: As the record says.
    """

    verdict: str
    kind: str
    reasons: tuple[Mapping[str, str], ...]
    not_checked: Mapping[str, str]
    claims: Mapping[str, Any]
    hardware_rooted: bool

    def to_claims(self, fields: Sequence[Field]) -> Claims:
        """Return the claims of a kind's table, in their own types.

        Raises:
            ConfigError: One is of another form (`config.file`).
        """
        try:
            values = {field.path: _value(self._at(field.path), field.form) for field in fields}
            vendor: dict[str, Value] = {}
            for path, value in values.items():
                if path not in _OWN and value is not None:
                    _put(vendor, path.split("."), value)
            return Claims(
                root_of_trust=self.kind,
                anchor=_octets(self.claims["anchor"]),
                hardware_rooted=self.hardware_rooted,
                measurement=_octets(self.claims["measurement"]),
                report_data=_octets(self.claims["report_data"]),
                debug=_typed(self.claims["debug"], bool),
                security_version=_typed(self.claims["security_version"], int),
                status=_typed(self.claims["status"], str),
                advisories=tuple(_texts(self.claims["advisories"])),
                hardware_id=_octets(self.claims["hardware_id"]),
                vendor=vendor,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise _none("its claims are not those of its kind") from e

    def _at(self, path: str) -> Any:
        if path in _OWN:
            return self.claims[path]
        found: Any = self.claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def read_saved(path: Path) -> SavedVerdict | None:
    """Read a record; None for a file that is something else, such as evidence.

    Raises:
        ConfigError: It cannot be read, or is a record that contradicts itself (`config.file`).
    """
    if path.is_dir():
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if not data.lstrip().startswith(b"{") or len(data) > _MAX_BYTES:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "verdict" not in found:
        return None
    try:
        return _read(found)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise _none("it lacks something") from e


def _read(found: Mapping[str, Any]) -> SavedVerdict:
    verdict = _typed(found["verdict"], str)
    if verdict not in {"accept", "reject"}:
        raise ValueError("another verdict")
    claims = _typed(found["claims"], dict)
    names = ("code", "detail", "expected", "found")
    return SavedVerdict(
        verdict=verdict,
        kind=_typed(claims["root_of_trust"], str) if claims else "",
        reasons=tuple(
            {name: _typed(each[name], str) for name in names}
            for each in _typed(found["reasons"], list)
        ),
        not_checked={
            _typed(each["rule"], str): _typed(each["reason"], str)
            for each in _typed(found["not_checked"], list)
        },
        claims=claims,
        hardware_rooted=_typed(found["hardware_rooted"], bool),
    )


def _value(value: Any, form: Form) -> Value:
    if value is None:
        return None
    if form == "bytes":
        return _octets(value)
    if form == "texts":
        return list(_texts(value))
    if form == "versions":
        parts = _typed(value, dict)
        return {_typed(name, str): _typed(part, int) for name, part in parts.items()}
    found: Value = _typed(value, {"text": str, "integer": int, "boolean": bool}[form])
    return found


def _put(vendor: dict[str, Value], names: list[str], value: Value) -> None:
    *folders, last = names
    place = vendor
    for name in folders:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise TypeError("a claim within a claim")
        place = inner
    place[last] = value


def _octets(value: Any) -> bytes:
    return bytes.fromhex(_typed(value, str))


def _texts(value: Any) -> list[str]:
    return [_typed(each, str) for each in _typed(value, list)]


def _typed(value: Any, form: type) -> Any:
    """Return a value of exactly this type: no bit for a number."""
    if type(value) is not form:
        raise TypeError(f"not {form.__name__}")
    return value


def _none(problem: str) -> ConfigError:
    return ConfigError(
        f"the file is no record of a verdict: {problem}",
        code="config.file",
        hint="cloister evidence verify … --json > verdict.json",
    )
