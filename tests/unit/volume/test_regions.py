"""Which class a path has: the longest prefix, whole components, one spelling."""

from __future__ import annotations

import pytest

from cloister.errors import ConfigError
from cloister.volume.regions import ENCRYPTED_ONLY, MAX_REGIONS, RegionClass, Regions

ENCRYPTED, AUTHENTICATED = RegionClass.ENCRYPTED, RegionClass.AUTHENTICATED
PLAIN, EPHEMERAL = RegionClass.PLAIN, RegionClass.EPHEMERAL

NESTED = Regions(
    {
        "/a": AUTHENTICATED,
        "/a/b": ENCRYPTED,
        "/a/b/c/d": AUTHENTICATED,
        "/a/tmp": EPHEMERAL,
        "/a/tmp/keep": ENCRYPTED,
        "/a/tmp/keep/out": PLAIN,
        "/out": PLAIN,
        "/one.json": AUTHENTICATED,
    }
)


@pytest.mark.spec("VOL-83")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ENCRYPTED),
        ("/x", ENCRYPTED),
        ("/a", AUTHENTICATED),
        ("/a/x/y/z", AUTHENTICATED),
        ("/ab", ENCRYPTED),
        ("/a.b", ENCRYPTED),
        ("/A", ENCRYPTED),
        ("/a/b", ENCRYPTED),
        ("/a/bc", AUTHENTICATED),
        ("/a/b/c", ENCRYPTED),
        ("/a/b/c/d", AUTHENTICATED),
        ("/a/b/c/d/e", AUTHENTICATED),
        ("/a/b/c/dd", ENCRYPTED),
        ("/a/tmp", EPHEMERAL),
        ("/a/tmp/x", EPHEMERAL),
        ("/a/tmpx", AUTHENTICATED),
        ("/a/tmp/keep/x", ENCRYPTED),
        ("/a/tmp/keep/out/x", PLAIN),
        ("/out/a/b", PLAIN),
        ("/one.json", AUTHENTICATED),
        ("/one.json.bak", ENCRYPTED),
    ],
)
def test_the_longest_prefix_decides(path: str, expected: RegionClass) -> None:
    """Of the regions that cover a path by whole components, the longest one decides."""
    assert NESTED.of(path) is expected


@pytest.mark.spec("VOL-83")
def test_what_nothing_covers_is_encrypted() -> None:
    """Without regions everything is encrypted; the root's region covers the rest."""
    assert ENCRYPTED_ONLY.of("/any/where") is ENCRYPTED
    regions = Regions({"/": AUTHENTICATED, "/s": ENCRYPTED})
    assert [regions.of(path) for path in ("/", "/x", "/s", "/s/y")] == [
        AUTHENTICATED, AUTHENTICATED, ENCRYPTED, ENCRYPTED,
    ]  # fmt: skip


@pytest.mark.spec("VOL-83")
@pytest.mark.parametrize(
    "path",
    [
        "", "a", "a/b", "//a", "/a/", "/a//b", "/.", "/a/..", "/../a", "/a/./b", "/a\0",
        "/" + "a" * 256, "/a" * 33, "/\ud812",
    ],
)  # fmt: skip
def test_only_one_spelling(path: str) -> None:
    """A path that is not absolute and plain is refused."""
    with pytest.raises(ConfigError) as caught:
        Regions({path: AUTHENTICATED})
    assert caught.value.code == "config.value"


@pytest.mark.spec("VOL-83")
@pytest.mark.parametrize(
    "classes",
    [
        {"/": PLAIN},
        {"/": EPHEMERAL},
        {"/out": PLAIN, "/out/secret": ENCRYPTED},
        {"/out": PLAIN, "/out/a/b": EPHEMERAL},
        {"/out": PLAIN, "/out/more": PLAIN},
        {f"/{number}": AUTHENTICATED for number in range(MAX_REGIONS + 1)},
    ],
)
def test_what_cannot_be_kept_apart_is_refused(classes: dict[str, RegionClass]) -> None:
    """The root is stored; nothing is named inside a plain region; there are at most 32."""
    with pytest.raises(ConfigError) as caught:
        Regions(classes)
    assert caught.value.code == "config.value"


def test_what_a_run_mounts() -> None:
    """Plain and ephemeral regions, and what is stored inside an ephemeral one, parents first."""
    assert list(NESTED.mounted()) == [
        ("/a/tmp", EPHEMERAL),
        ("/a/tmp/keep", ENCRYPTED),
        ("/a/tmp/keep/out", PLAIN),
        ("/out", PLAIN),
    ]


def test_equality() -> None:
    """What says the same is equal; taking files as recorded is another thing than no regions."""
    assert Regions({"/b": PLAIN, "/a": EPHEMERAL}) == Regions({"/a": EPHEMERAL, "/b": PLAIN})
    assert Regions.as_recorded() != ENCRYPTED_ONLY
    assert len({Regions({}), ENCRYPTED_ONLY, Regions.as_recorded()}) == 2
