"""What an operator would try; whether it is refused, tests/integration shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloister.cli.demo import attacks
from cloister.cli.demo.capture import Stream
from cloister.cli.demo.places import Places
from cloister.errors import UnavailableError
from cloister.keyservice.messages import RELEASE_PATH


class FakeCapture:
    """A tap with one stream."""

    def __init__(self, content: bytes) -> None:
        self._stream = Stream(1, 2)
        self._stream.add(0, content)

    def streams(self) -> list[Stream]:
        return [self._stream]


def _scene(root: Path, calls: list[tuple[Any, ...]], code: str) -> attacks.Scene:
    places = Places(root)
    places.make()
    (places.sealed / "data").mkdir()
    (places.sealed / "data" / "object").write_bytes(bytes(1000))

    def run(*words: Any) -> Any:
        calls.append(words)
        return SimpleNamespace(code=code)

    return attacks.Scene(
        places=places,
        policy_name="p",
        run=run,
        owner=None,
        old_model=root / "old",
        capture=FakeCapture(b""),
        script=b"marker",
    )


def test_exactly_one_bit_is_flipped_in_a_copy(tmp_path: Path) -> None:
    """The owner's volume stays whole; the copy is what is run on."""
    calls: list[tuple[Any, ...]] = []
    scene = _scene(tmp_path, calls, "volume.tampered")
    assert attacks.flip_one_bit(scene) == "volume.tampered"
    assert (scene.places.sealed / "data" / "object").read_bytes() == bytes(1000)
    store = Path(calls[0][-1].removeprefix("data="))
    changed = int.from_bytes((store / "object").read_bytes(), "big")
    assert changed.bit_count() == 1


def test_an_attack_that_works_has_no_code(tmp_path: Path) -> None:
    """An empty text is what the demonstration fails on."""
    calls: list[tuple[Any, ...]] = []
    scene = _scene(tmp_path, calls, "")
    assert attacks.put_back_older_volume(scene) == ""
    assert calls == [("inspect", "--volume", f"model={tmp_path}/old")]
    assert attacks.add_argv(scene) == ""
    assert calls[1][0:2] == ("train", "--")


def test_a_recorded_request_is_cut_out_whole() -> None:
    """Head and length are read from what crossed the wire."""
    request = f"POST {RELEASE_PATH} HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyPOST /next".encode()
    assert attacks._recorded_request(FakeCapture(b"noise" + request)) == b"body"
    with pytest.raises(UnavailableError) as caught:
        attacks._recorded_request(FakeCapture(b"nothing"))
    assert caught.value.code == "server.unreachable"


def test_each_of_the_issues_attacks_is_made() -> None:
    """None is forgotten."""
    wanted = ("flipped bit", "older copy", "script", "argv", "evidence", "workload", "key service")
    for words in wanted:
        assert any(words in name for name in attacks.ATTACKS), words
