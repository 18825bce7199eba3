"""The table of targets is whole, and each of its harnesses works; `run.py` has the fuzzer."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import pytest

from cloister.errors import CloisterError
from fuzz.mutants import mutants
from fuzz.targets import TARGETS, one_input

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "cloister"
LONGEST_S: Final = 2.0
MUTANTS: Final = 12
# What a public parser of bytes is called.
_NAME: Final = re.compile(
    r"from_(bytes|der|xml|text|spki|point|canonical|compact)|(read|parse|unpack)_\w+|decode\w*"
    r"|open(_\w+)?|\w+_from_(json|canonical|bytes)|describe|signed_text|\w+_of_answer"
)
# Parsers that no target reaches, each with its reason.
WITHOUT: Final[dict[str, str]] = {
    "cleanroom/room_key.py:RoomKey.open": "decrypts",
    "confinement/nftables.py:read_counters": "what nft printed on this machine; an OSError",
    "crypto/aead.py:AEADKey.open_into": "decrypts",
    "crypto/hpke.py:HPKEPrivateKey.open": "decrypts",
    "keyservice/owner.py:OwnerClient.read_policy": "asks a service for a policy by its hash",
    "keyservice/state/record.py:StateKey.open_record": "decrypts; the record is a target",
    "keyservice/state/record.py:StateKey.open_snapshot": "decrypts; the snapshot is a target",
    "keyservice/state/record.py:StateKey.open_entry": "decrypts; entries are targets",
    "keyservice/state/sqlcipher.py:SQLCipherBackend.open": "takes a key; SQLCipher reads the file",
    "launcher/scan.py:parse_line": "a line that the same process wrote",
    "launcher/volumes.py:open_granted": "opens a volume, whose formats are targets",
    "network/records.py:Records.open_frames": "opens records of TLS; the frames are a target",
    "volume/content/contents.py:Contents.read_into": "fills a buffer from blocks, which are sealed",
    "volume/content/file.py:FileContent.read_into": "fills a buffer from blocks, which are sealed",
    "volume/filesystem.py:Filesystem.read_into": "fills a buffer from a file",
    "volume/opening.py:open_store": "opens a volume, whose formats are targets",
    "volume/opening.py:open_volume": "opens a volume, whose formats are targets",
    "volume/store.py:Handle.read_into": "fills a buffer from a file",
    "volume/store.py:_PosixHandle.read_into": "fills a buffer from a file",
    "volume/tree.py:VolumeFilesystem.read_into": "fills a buffer from a file",
    "volume/fuse/process.py:VolumeServerProcess.open": "asks a process of our own",
}
# Readers that refuse even their good bytes, at their last step, with what they then say.
REFUSING: Final = {
    ("tdx", 1): "evidence.log",  # no simulated quote is about this log
    ("ear", 0): "token.key-unknown",  # the vectors' tokens, under keys of others
    ("tpm answers", 7): "attester.failed",  # nobody signs a quote over a nonce here
}


def parsers() -> Iterator[str]:
    """Yield the public functions of the package that read bytes, as `file:name`."""
    for path in sorted(SOURCE.rglob("*.py")):
        folder = path.relative_to(SOURCE).parts[0]
        if folder not in {"testing", "cli"}:
            tree = ast.parse(path.read_text("utf-8"))
            for name in _in(tree.body, ""):
                yield f"{path.relative_to(SOURCE)}:{name}"


def _in(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _in(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and _NAME.fullmatch(node.name):
            taken = [each.annotation for each in (*node.args.args, *node.args.kwonlyargs)]
            if any({"bytes", "memoryview"} & _words(each) for each in taken if each is not None):
                yield prefix + node.name


def _words(annotation: ast.expr) -> set[str]:
    return set(re.findall(r"\w+", ast.unparse(annotation))) - {"Sequence", "Mapping"}


def reached() -> set[str]:
    """Return the functions of the package that are called while every target reads its bytes."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for target in TARGETS.values():
            for good in target.corpus:
                one_input(target, good)
    finally:
        sys.setprofile(before)
    return {
        f"{Path(each.co_filename).relative_to(SOURCE)}:{each.co_qualname}"
        for each in found
        if each.co_filename.startswith(str(SOURCE))
    }


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_reads_good_bytes_and_survives_others(name: str) -> None:
    """A handful of inputs; only our errors, in time."""
    target = TARGETS[name]
    good: set[int] = set()
    refused: dict[tuple[str, int], str] = {}
    for number, data in enumerate(target.corpus):
        reader = target.reader_of(data)
        try:
            target.read(data)
            good.add(reader)
        except CloisterError as e:
            refused.setdefault((name, reader), e.code)
        for _, changed in mutants(data, count=MUTANTS, seed=number) if data else ():
            began = time.process_time()
            one_input(target, changed)
            assert time.process_time() - began < LONGEST_S
    one_input(target, b"")
    expected = {place: code for place, code in REFUSING.items() if place[0] == name}
    assert {place: code for place, code in refused.items() if place[1] not in good} == expected
    assert len(good) + len(expected) == target.readers


def test_every_parser_is_reached_from_a_target() -> None:
    """Caches are emptied first: what was read before is read again."""
    _forget()
    there, called = set(parsers()), reached()
    assert len(there) > 100
    assert there - called - WITHOUT.keys() == set()
    assert set(WITHOUT) <= there
    assert set(WITHOUT) & called == set()


def _forget() -> None:
    """Empty every cache of functions of the package."""
    for name, module in list(sys.modules.items()):
        if name.startswith("cloister."):
            for each in list(vars(module).values()):
                clear = getattr(each, "cache_clear", None)
                if callable(clear):
                    clear()


def test_the_fuzzer_runs() -> None:
    """A few inputs under the real one, in a process of its own.

    Ten seconds, nearly all of which go into making every branch of the package visible.
    """
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris here: it has wheels for Linux on x86-64; make setup")
    script = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, script, "--runs", "200", "--seconds", "20", "wire"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("wire: ok")
