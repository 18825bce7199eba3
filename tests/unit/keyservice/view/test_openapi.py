"""The document says what the table does; schemathesis asks the real service (integration)."""

from __future__ import annotations

import jsonschema
import pytest

from cloister.keyservice.view.openapi import document
from cloister.keyservice.view.operations import OPERATIONS
from unit.keyservice.view.conftest import Viewer


@pytest.mark.spec("KH-1")
def test_the_document_is_served_and_names_every_operation(viewer: Viewer) -> None:
    """Each path of the table but the page's parts, and each identifier once."""
    served = viewer.get("/openapi.json", token="").record
    assert served == document()
    described = {each.path for each in OPERATIONS if each.schema is not None}
    assert set(served["paths"]) == described
    names = [path["get"]["operationId"] for path in served["paths"].values()]
    assert len(names) == len(set(names))
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in names)


@pytest.mark.spec("KH-11")
def test_private_operations_say_so(viewer: Viewer) -> None:
    """Security, 401 and 403 come together, or not at all."""
    for each in OPERATIONS:
        if each.schema is not None:
            said = document()["paths"][each.path]["get"]
            assert bool(each.scope) == ("security" in said) == ("401" in said["responses"])


@pytest.mark.parametrize(
    "target",
    ["/v1/service", "/v1/log/entries?first=0&count=9", "/v1/policies", "/v1/volumes", "/readyz"],
)
def test_answers_have_their_schema(viewer: Viewer, target: str) -> None:
    """What is served is what the document describes."""
    said = document()["paths"][target.partition("?")[0]]
    schema = said["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(viewer.get(target).record, schema)
