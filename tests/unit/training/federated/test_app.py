"""One app runs, with one set of settings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest

from cloister.errors import AppraisalError, ConfigError
from cloister.training.federated.app import App, parse_settings, read_app, require_same_app

# Flower's own, from a library beneath it.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

HOSPITALS: Final = Path(__file__).parents[4] / "examples" / "hospitals"
BUNDLE: Final = b"the app"
OWN: Final = App(
    "us/app", "1.0.0", hashlib.sha256(BUNDLE).hexdigest(), BUNDLE, {"rounds": 2, "on": True}
)


def test_settings_are_scalars_of_json_or_text() -> None:
    """What reads as a JSON scalar is one; everything else is text."""
    texts = ["a=1", "b=1.5", "c=true", 'd="1"', "e=fedprox", "f.g=-2", "h="]
    assert parse_settings(texts) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "1",
        "e": "fedprox",
        "f.g": -2,
        "h": "",
    }


@pytest.mark.parametrize(
    "text", ["a", "=1", "a b=1", "a..b=1", "a=null", "a=[1]", "a={}", "a=NaN", f"a={'x' * 4097}"]
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    """No key, no single value, or too long a one."""
    with pytest.raises(ConfigError) as found:
        parse_settings([text])
    assert found.value.code == "config.value"


def test_a_setting_is_there_once() -> None:
    """The second of two would win without a word."""
    with pytest.raises(ConfigError):
        parse_settings(["a=1", "a=2"])


@pytest.mark.spec("FED-3")
def test_a_folder_gives_the_same_bundle_each_time(tmp_path: Path) -> None:
    """Link and sites compare digests of what each bundles by itself."""
    pytest.importorskip("flwr")
    one = read_app(HOSPITALS / "tabular", {"num-server-rounds": 3})
    two = read_app(HOSPITALS / "tabular", {})
    assert (one.name, one.version) == ("cloister/hospital-tabular", "1.0.0")
    assert one.digest == two.digest == hashlib.sha256(two.bundle).hexdigest()


@pytest.mark.spec("FED-3")
def test_an_unknown_setting_is_refused() -> None:
    """A mistyped one would change nothing."""
    pytest.importorskip("flwr")
    with pytest.raises(ConfigError) as found:
        read_app(HOSPITALS / "tabular", {"num-server-round": 3})
    assert found.value.code == "federated.app"


@pytest.mark.parametrize(
    "project", [None, b"\xff", b"[project]", b'[tool.flwr.app]\npublisher = "x"', b"tool = 1"]
)
def test_a_folder_without_an_app_is_refused(tmp_path: Path, project: bytes | None) -> None:
    """Whatever is wrong with it, the error is ours."""
    pytest.importorskip("flwr")
    if project is not None:
        (tmp_path / "pyproject.toml").write_bytes(project)
    with pytest.raises(ConfigError) as found:
        read_app(tmp_path, {})
    assert found.value.code == "federated.app"


@pytest.mark.spec("FED-4", "FED-5")
def test_the_own_app_with_the_own_settings_passes() -> None:
    """As a name, and as the bundle itself."""
    settings = {"on": True, "rounds": 2}
    require_same_app(OWN, content=None, digest=OWN.digest, settings=settings)
    require_same_app(OWN, content=BUNDLE, digest=OWN.digest, settings=settings)


@pytest.mark.spec("FED-4")
@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (None, "0" * 64),
        (b"another app", hashlib.sha256(b"another app").hexdigest()),
        (b"another app", OWN.digest),  # called by the right name
        (BUNDLE, "0" * 64),
        (BUNDLE, OWN.digest[:8]),
        (BUNDLE, ""),
    ],
)
def test_another_app_is_refused(content: bytes | None, digest: str) -> None:
    """By its digest, and by its bytes whatever it is called."""
    with pytest.raises(AppraisalError) as found:
        require_same_app(OWN, content=content, digest=digest, settings=OWN.settings)
    assert (found.value.code, found.value.rule) == ("federated.other-app", "app")


@pytest.mark.spec("FED-5")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rounds": 2},
        {"rounds": 3, "on": True},
        {"rounds": 2, "on": True, "more": 1},
        {"rounds": 2, "on": 1},
        {"rounds": 2.0, "on": True},
    ],
)
def test_other_settings_are_refused(settings: dict[str, float]) -> None:
    """Fewer, others, more, or of another type: the link may not turn privacy off."""
    with pytest.raises(AppraisalError) as found:
        require_same_app(OWN, content=None, digest=OWN.digest, settings=settings)
    assert (found.value.code, found.value.rule) == ("federated.other-app", "settings")
