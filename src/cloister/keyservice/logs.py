"""Log records as lines of JSON: `at`, `level`, `logger`, `event`, and the event's fields. Pure.

A log call of Cloister is an event's name and fields, `_LOG.info("release.granted entry=%d", 7)`;
the names come from that text, the values from its arguments. What others log becomes `log.message`.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Final

__all__ = ["JSONFormatter"]

_EVENT: Final = re.compile(r"([a-z-]+\.[a-z-]+)((?: [a-z_]+=%[sd])*)")
_FIELD: Final = re.compile(r"([a-z_]+)=%[sd]")
_MAX_TEXT: Final = 1000


class JSONFormatter(logging.Formatter):
    """One line for each record; values are cut to 1 000 characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            **_event(record),
        }
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)


def _event(record: logging.LogRecord) -> dict[str, object]:
    found = _EVENT.fullmatch(str(record.msg))
    values = record.args if isinstance(record.args, tuple) else ()
    if found is None:
        return {"event": "log.message", "message": record.getMessage()[:_MAX_TEXT]}
    names = _FIELD.findall(found[2])
    if len(names) != len(values):
        return {"event": "log.message", "message": record.getMessage()[:_MAX_TEXT]}
    return {"event": found[1], **dict(zip(names, map(_plain, values), strict=True))}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | float) else str(value)[:_MAX_TEXT]
