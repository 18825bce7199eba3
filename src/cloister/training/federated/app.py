"""The one Flower app that a workload runs: read from its measured folder, compared with any other.

In Flower the link sends the app to the sites, which run what they get. Here every workload has the
app in its own measured code, and a site refuses whatever is not byte for byte the same, or comes
with other settings: what runs at a site is what the site's owner approved.

Spec: federation-v1, clauses FED-3 to FED-5.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.errors import AppraisalError, ConfigError

__all__ = ["App", "Scalar", "parse_settings", "read_app", "require_same_app"]

_SCALARS: Final = (bool, int, float, str)
Scalar = bool | int | float | str
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})*")
_MAX_TEXT: Final = 4096
_SHOWN: Final = 16


@dataclass(frozen=True, slots=True)
class App:
    """An app as Flower bundles it.

    Attributes:
        name: Publisher and name.
        version: The app's own.
        digest: SHA-256 of the bundle, in hex.
        bundle: What Flower sends around.
        settings: What the policy's command sets, over the app's own defaults.
    """

    name: str
    version: str
    digest: str
    bundle: bytes
    settings: Mapping[str, Scalar]


def parse_settings(texts: Sequence[str]) -> dict[str, Scalar]:
    """Read `key=value` arguments; a value is a JSON scalar, and text where it is none.

    Raises:
        ConfigError: `config.value`: no key, one twice, or a value that is neither.
    """
    found: dict[str, Scalar] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _KEY.fullmatch(key) or key in found or len(value) > _MAX_TEXT:
            raise ConfigError(
                f"{text[:80]!r} is no setting, or is there twice",
                code="config.value",
                hint="write KEY=VALUE",
            )
        found[key] = _scalar(value)
    return found


def read_app(folder: Path, settings: Mapping[str, Scalar]) -> App:
    """Bundle the app in a folder as Flower does.

    Args:
        folder: The measured code.
        settings: Over the app's own; a key that the app does not have is an error, since a
            mistyped one would change nothing without a word.

    Raises:
        ConfigError: `federated.app`: no Flower app, or it has no such setting.

    Spec: FED-3.
    """
    import click  # noqa: PLC0415  # Flower is loaded by those who need it, in its surroundings
    from flwr.cli.build import build_fab_from_disk  # noqa: PLC0415

    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        flower = project["tool"]["flwr"]["app"]
        name = f"{flower['publisher']}/{project['project']['name']}"
        version = str(project["project"]["version"])
        defaults = _flat(flower.get("config", {}))
        bundle = bytes(build_fab_from_disk(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, click.ClickException) as e:
        raise ConfigError(
            f"{folder} is no Flower app",
            code="federated.app",
            hint=f"{type(e).__name__}: {e}"[:500],
        ) from e
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise ConfigError(
            f"the app has no setting {unknown[0]}",
            code="federated.app",
            hint="[tool.flwr.app.config] in its pyproject.toml has " + ", ".join(sorted(defaults)),
        )
    return App(name, version, hashlib.sha256(bundle).hexdigest(), bundle, dict(settings))


def require_same_app(
    own: App, *, content: bytes | None, digest: str, settings: Mapping[str, Scalar]
) -> None:
    """Refuse an app that is not this workload's own, or that comes with other settings.

    Args:
        own: From this workload's measured code and its own arguments.
        content: The bundle that the link sent, or None where it has only been named so far.
        digest: What the link calls it.
        settings: What the link sets.

    Raises:
        AppraisalError: `federated.other-app`.

    Spec: FED-4, FED-5.
    """
    found = digest if content is None else hashlib.sha256(content).hexdigest()
    if digest != own.digest or found != own.digest:
        raise AppraisalError(
            "the link wants another app run than this workload has",
            code="federated.other-app",
            rule="app",
            expected=own.digest[:_SHOWN],
            found=(found if digest == own.digest else digest)[:_SHOWN],
            hint="link and sites need the same code, from the same volume",
        )
    # True == 1 == 1.0 in Python, and an app may tell them apart.
    theirs, ours = _exact(settings), _exact(own.settings)
    if theirs != ours:
        raise AppraisalError(
            "the link wants the app run with other settings than this workload has",
            code="federated.other-app",
            rule="settings",
            expected=json.dumps(ours)[:200],
            found=json.dumps(theirs)[:200],
            hint="give link and sites the same --set arguments",
        )


def _scalar(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, _SCALARS) and not (isinstance(value, float) and not math.isfinite(value)):
        return value
    raise ConfigError(f"{text[:80]!r} is no single value", code="config.value")


def _exact(settings: Mapping[str, Scalar]) -> list[tuple[str, str, Scalar]]:
    return sorted((key, type(value).__name__, value) for key, value in settings.items())


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
