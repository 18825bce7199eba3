"""Lines of a listing."""

from __future__ import annotations

import os
from pathlib import Path

from cloister.launcher.runtime import MeasuredRoot
from cloister.launcher.scan import describe_file, parse_line, scan_roots


def test_a_line_is_read_back_even_with_odd_names(tmp_path: Path) -> None:
    """Spaces, line breaks and bytes that are no text survive."""
    for name in (b"a b", b"line\nbreak", b"\xff\xfe", b"plain"):
        path = os.fsencode(tmp_path) + b"/" + name
        Path(os.fsdecode(path)).write_bytes(b"12345")
        status = os.lstat(path)
        file = parse_line(os.fsencode(describe_file(os.fsdecode(name), status)))
        assert (file.name, file.size, file.inode) == (name, 5, status.st_ino)
        assert (file.ctime_ns, file.mode) == (status.st_ctime_ns, status.st_mode)


def test_roots_keep_apart_and_top_names_can_be_skipped(tmp_path: Path) -> None:
    """Labels, not places, name folders; `skipped_at_top` does not reach deeper."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "deep" / "site-packages").mkdir(parents=True)
    (tmp_path / "x").write_text("")
    roots = [
        MeasuredRoot("stdlib", tmp_path, skipped_at_top=frozenset({"site-packages"})),
        MeasuredRoot("single", tmp_path / "x"),
    ]
    found = scan_roots(roots)
    assert set(found) == {b"stdlib", b"stdlib/deep", b"stdlib/deep/site-packages", b"single"}
    assert found[b"single"].lines.endswith(b" file")
