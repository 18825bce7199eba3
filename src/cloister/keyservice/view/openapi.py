"""The OpenAPI document, made from the table of operations, so that the two cannot differ. Pure."""

from __future__ import annotations

from cloister import __version__
from cloister.keyservice.view import schemas
from cloister.keyservice.view.operations import OPERATIONS, Operation, Parameter
from cloister.keyservice.view.problems import PROBLEM_MEDIA
from cloister.keyservice.view.schemas import Schema

__all__ = ["document"]

_TOKEN = "viewToken"  # noqa: S105  # the name of a scheme
_PROBLEMS = {
    400: "The request is malformed.",
    401: "No view token that holds.",
    403: "The view token is for something else.",
    404: "There is none.",
    503: "Not now; ask again.",
}


def document() -> Schema:
    """Return the document, as a value for JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cloister key service",
            "version": __version__,
            "description": "Read-only; keys are asked for by the protocol key-release-v1. "
            "Believe nothing here that you did not verify: the page at / shows how.",
        },
        "paths": {
            operation.path: {"get": _describe(operation)}
            for operation in OPERATIONS
            if operation.schema is not None
        },
        "components": {
            "securitySchemes": {
                _TOKEN: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "cloister keyservice view-token",
                }
            },
            "schemas": {"Problem": schemas.PROBLEM},
        },
    }


def _describe(operation: Operation) -> Schema:
    problems = {400, 503, *operation.problems} | ({401, 403} if operation.scope else set())
    answer = {"schema": operation.schema}
    responses: Schema = {
        "200": {"description": operation.summary, "content": {operation.media: answer}}
    }
    for status in sorted(problems):
        content: Schema = {PROBLEM_MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        if operation.path == "/readyz" and status == 503:  # noqa: PLR2004  # an HTTP status
            content[operation.media] = answer
        responses[str(status)] = {"description": _PROBLEMS[status], "content": content}
    found: Schema = {
        "operationId": operation.path.strip("/").replace("/", "-").translate({123: "", 125: ""}),
        "summary": operation.summary,
        "responses": responses,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
    }
    if "{hash}" in operation.path:
        found["parameters"] = [
            {"name": "hash", "in": "path", "required": True, "schema": schemas.DIGEST}
        ]
    if operation.scope:
        found["security"] = [{_TOKEN: []}]
        found["description"] = f"Needs a view token of scope `{operation.scope}` or `view`."
    return found


def _parameter(parameter: Parameter) -> Schema:
    schema: Schema = {
        "type": "integer",
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
    }
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.default is None,
        "description": parameter.text,
        "schema": schema,
    }
