"""The search for markers."""

from pathlib import Path

from cloister.cli.demo.capture import Stream
from cloister.cli.demo.markers import files_below, search_files, search_streams

MARKERS = {"data": [b"DATA-MARKER"], "code": [b"CODE-MARKER", b"OTHER"]}


def test_markers_in_files_are_found_and_counted(tmp_path: Path) -> None:
    """A marker anywhere in a file below a root is found; skipped folders are not searched."""
    (tmp_path / "a").mkdir()
    (tmp_path / "owner").mkdir()
    (tmp_path / "a" / "x.bin").write_bytes(bytes(100_000) + b"DATA-MARKER")
    (tmp_path / "a" / "empty").touch()
    (tmp_path / "owner" / "y").write_bytes(b"CODE-MARKER")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "owner" / "y")
    found = search_files(files_below([tmp_path], since_ns=0, skip=[tmp_path / "owner"]), MARKERS)
    assert found.secrets_found == {"data"}
    assert found.files == 2
    assert found.searched_bytes == 100_011


def test_files_untouched_since_are_left_out(tmp_path: Path) -> None:
    """Only files changed since the given instant are searched."""
    (tmp_path / "old").write_bytes(b"x")
    assert list(files_below([tmp_path], since_ns=2**63, skip=[])) == []


def test_markers_across_segments_are_found() -> None:
    """A marker cut by a segment boundary is still found."""
    stream = Stream(5, 6)
    stream.add(1, b"..CODE-")
    stream.add(8, b"MARKER..")
    found = search_streams([stream], MARKERS)
    assert found.secrets_found == {"code"}
    assert found.findings[0].where == "tcp 5 to 6"
    both = found.joined(search_streams([], MARKERS))
    assert both.streams == 1
