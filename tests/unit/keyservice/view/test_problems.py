"""Errors as problem documents."""

from __future__ import annotations

import json

import pytest

from cloister.errors import CODES, CloisterError, error_from_wire
from cloister.keyservice.view.problems import problem, status_of


@pytest.mark.spec("KH-4")
@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_is_a_problem_without_its_detail(code: str) -> None:
    """Whatever its class; what is for the operator's log stays there."""
    error = error_from_wire(code, "said to everybody")
    error.detail = "for the log only"
    found = json.loads(problem(error))
    assert found["code"] == code
    assert found["detail"] == "said to everybody"
    assert 400 <= found["status"] == int(status_of(error)) < 600
    assert "for the log" not in problem(error).decode()


@pytest.mark.spec("KH-4")
def test_statuses_that_clients_branch_on() -> None:
    """The ones that the page of errors does not fix."""

    def status(code: str) -> int:
        error: CloisterError = error_from_wire(code, "x")
        return int(status_of(error))

    assert status("identity.viewer") == 401
    assert status("identity.scope") == 403
    assert status("request.unknown") == status("log.unknown") == 404
    assert status("request.method") == 405
    assert status("keyservice.busy") == 503
    assert status("storage.full") == 507
    assert status("state.tampered") == status("protocol.local") == 500
