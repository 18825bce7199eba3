"""What runs in a cell: the attempts that it is told by name, each with its outcome on the pipe."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from escape.table import Place, attempt

__all__ = ["AREAS", "main", "perform"]

AREAS = ("files", "devices", "network", "processes", "memory", "kernel", "machine")


def main(pipe: int) -> None:
    """Perform `/cell/order.json`, and answer with a list of outcomes."""
    order = json.loads(Path("/cell/order.json").read_text("utf-8"))
    if before := order["before"]:
        exec(before, {})  # noqa: S102  # lines of the test, which have something compiled first
    answer = json.dumps(perform(order["names"], order["place"])).encode()
    while answer:
        answer = answer[os.write(pipe, answer) :]


def perform(names: list[str], place: dict[str, Any]) -> list[dict[str, str]]:
    """Try what is named, one after another, in this process."""
    for area in AREAS:  # a cell has those only that it needs
        if importlib.util.find_spec(f"escape.{area}"):
            importlib.import_module(f"escape.{area}")
    fields = {
        name: tuple(value) if isinstance(value, list) else value for name, value in place.items()
    }
    return [attempt(name, Place(**fields)) for name in names]
