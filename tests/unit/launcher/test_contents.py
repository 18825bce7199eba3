"""What the sandbox of a run shows; runs themselves are in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.launcher.code import CodeFile, CodeTree, read_code
from cloister.launcher.contents import code_digest, code_files, sandbox_spec
from cloister.launcher.plan import RunPlan, VolumePlan
from cloister.launcher.runtime import MeasuredRoot, RuntimeLayout
from cloister.volume.regions import ENCRYPTED_ONLY
from cloister.volume.seal import seal_tree


def test_what_is_not_measured_is_hidden(tmp_path: Path) -> None:
    """Folders that the measurement skips look empty inside."""
    (tmp_path / "pkg" / "__pycache__").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    root = MeasuredRoot("sources/0", tmp_path, skipped=frozenset({"__pycache__", ".git"}))
    layout = RuntimeLayout(Path("/usr/bin/python3"), (root,), (tmp_path,), ())
    spec = sandbox_spec(layout, (), None, cells=False)
    assert [bind.target for bind in spec.binds] == [str(tmp_path)]
    assert set(spec.hidden) == {str(tmp_path / "pkg" / "__pycache__"), str(tmp_path / ".git")}


def test_plain_code_is_placed_read_only() -> None:
    """From the bytes that were digested, with the owner's executable bit for all."""
    tree = CodeTree(
        (CodeFile("a.py", b"1", executable=False), CodeFile("b", b"2", executable=True))
    )
    assert [(file.path, file.data, file.mode) for file in code_files(tree)] == [
        ("/code/a.py", b"1", 0o444),
        ("/code/b", b"2", 0o555),
    ]
    assert code_files(None) == []


@pytest.mark.spec("LM-2")
def test_the_code_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    """A volume's root is computed from its bytes; a plain folder's digest from its manifest."""
    source, store = tmp_path / "source", tmp_path / "store"
    source.mkdir()
    (source / "train.py").write_text("print(1)\n")
    root = seal_tree(source, store, b"k" * 32, progress=lambda _: None).root
    volume = VolumePlan("/code", "code", bytes(16), "read", store, ENCRYPTED_ONLY)
    plan = RunPlan("train", ("python",), volume, None, (volume,))
    assert code_digest(plan, None) == root
    (segment,) = (store / "journal").iterdir()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    assert code_digest(plan, None) not in {root, bytes(32)}
    tree = read_code(source)
    plain = RunPlan("train", ("python",), None, source, ())
    assert code_digest(plain, tree) == tree.digest()
