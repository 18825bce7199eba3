"""Lines about a federation on standard output, beside Flower's own and never twice."""

from __future__ import annotations

import logging
import sys

__all__ = ["log_to_stdout"]


def log_to_stdout() -> None:
    """Show what this package logs; Flower's loggers stay as Flower sets them."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("cloister: %(message)s"))
    log = logging.getLogger("cloister")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
