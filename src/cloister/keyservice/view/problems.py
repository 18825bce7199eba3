"""Errors as RFC 9457 problem documents, with our codes. Pure."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from cloister.errors import (
    CloisterError,
    MalformedError,
    RefusedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)

__all__ = ["PROBLEM_MEDIA", "problem", "status_of"]

PROBLEM_MEDIA: Final = "application/problem+json"
_BY_CODE: Final = {
    "identity.viewer": HTTPStatus.UNAUTHORIZED,
    "identity.scope": HTTPStatus.FORBIDDEN,
    "request.unknown": HTTPStatus.NOT_FOUND,
    "request.method": HTTPStatus.METHOD_NOT_ALLOWED,
    "log.unknown": HTTPStatus.NOT_FOUND,
    "release.policy-unknown": HTTPStatus.NOT_FOUND,
}
_BY_CLASS: Final[tuple[tuple[type[CloisterError], HTTPStatus], ...]] = (
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (RefusedError, HTTPStatus.FORBIDDEN),
    (MalformedError, HTTPStatus.BAD_REQUEST),
    (TamperedError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def status_of(error: CloisterError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    found = (status for kind, status in _BY_CLASS if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(error: CloisterError) -> bytes:
    """Return the document: the public sentence and the code, never the detail."""
    status = status_of(error)
    return json.dumps(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": error.public,
            "code": error.code,
        }
    ).encode()
