"""Every test that the table of tests/attack/README.md lists exists in the file that it names."""

from __future__ import annotations

import ast
import re

from docs.pages import ROOT

FOLDER = ROOT / "tests" / "attack"
ROWS = re.findall(
    r"^\| (?!attack|bug|---)(.+) \| (.+) \|$", (FOLDER / "README.md").read_text(), re.M
)
SERVED = (
    "test_keyservice_over_http.py",
    "test_genuine_evidence_over_http.py",
    "test_tenants_over_http.py",
    "test_state_over_http.py",
    "test_no_plaintext.py",
)


def names_in(name: str) -> set[str]:
    """The names of a file's test functions."""
    tree = ast.parse((FOLDER / name).read_text("utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_each_listed_test_exists() -> None:
    """Each row names at least one, and nothing but such tests."""
    assert len(ROWS) > 15
    for attack, shown in ROWS:
        links = re.findall(r"\[(\w+)\]\(([\w./]+\.py)\)", shown)
        assert ", ".join(f"[{name}]({file})" for name, file in links) == shown, attack
        assert [name for name, file in links if name not in names_in(file)] == [], attack


def test_each_attack_over_http_is_listed() -> None:
    """But the control, which is no attack."""
    listed = {name for _, shown in ROWS for name in re.findall(r"\[(\w+)\]", shown)}
    there = set().union(*map(names_in, SERVED))
    assert there - listed == {"test_the_same_request_without_an_attack_is_granted"}
