"""What the key service loads is what somebody reviewed."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from docs.pages import ROOT

LIST: Final = ROOT / "docs" / "keyservice-modules.txt"
_PROBE: Final = """
import sys
before = set(sys.modules)
import cloister.keyservice.server, cloister.keyservice.view.web, cloister.keyservice.view.openapi
found = {name.partition(".")[0] for name in set(sys.modules) - before}
names = found - sys.stdlib_module_names - {"cloister", "__mp_main__"}
print("\\n".join(sorted(n for n in names if not n.startswith(("_cython", "cython_runtime")))))
"""


def test_the_list_is_what_is_loaded() -> None:
    """Neither more nor less, and no tensor library."""
    lines = [line for line in LIST.read_text("utf-8").splitlines() if not line.startswith("#")]
    listed = {line.split(maxsplit=1)[0] for line in lines}
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines), "each with its reason"
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=120, check=True
    )
    assert set(done.stdout.split()) == listed
    assert listed.isdisjoint({"numpy", "tensorflow", "torch", "keras", "ai_edge_litert"})
