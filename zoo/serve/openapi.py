"""OpenAPI: the table of routes as a document of OpenAPI 3.1, for who writes a client.

See https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import msgspec
from msgspec import Struct

from zoo.serve.http.errors import CODES
from zoo.serve.http.router import FIELD, Route
from zoo.serve.hub.ask import Hub

__all__ = ["openapi"]

Json = dict[str, object]
ALWAYS = (
    "BadRequest",
    "InvalidToken",
    "NotFound",
    "TooLarge",
    "TooSlow",
    "WrongHost",
    "Failed",
    "Busy",
)
"""What any request may be refused with."""
REFUSAL: Json = {"type": "object", "properties": {"error": {"type": "string"}}}
TOKEN: Json = {"type": "http", "scheme": "bearer"}


def openapi(routes: Sequence[Route[Hub]]) -> Json:
    """The document of routes. In a path, a field that may have slashes is described so: templates
    of OpenAPI cannot say it.
    """
    paths: defaultdict[str, Json] = defaultdict(dict)
    called: dict[str, str] = {}
    for route in routes:
        # Two paths that differ in the names of their fields alone are one here.
        path = called.setdefault(FIELD.sub("{}", route.path), FIELD.sub(r"{\1}", route.path))
        paths[path][route.method.lower()] = _operation(route, path)
    bodies = [route.body for route in routes if route.body]
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "zoo", "version": version("zoo-registry")},
        "paths": {**paths},
        "components": {"schemas": schemas, "securitySchemes": {"token": TOKEN}},
    }


def _operation(route: Route[Hub], path: str) -> Json:
    fields = zip(FIELD.finditer(route.path), re.findall(r"\{(\w+)\}", path), strict=True)
    operation: Json = {
        "summary": route.summary,
        "parameters": [
            *(_parameter(name, "path", slashes=bool(field[2])) for field, name in fields),
            *(_parameter(name, "query") for name in route.query),
        ],
        "responses": dict(_responses(route)),
        "security": [] if route.scope == "open" else [{"token": []}],
    }
    if route.scope == "listed":
        operation["security"] = [{}, {"token": []}]
    if route.body or route.streams:
        operation["requestBody"] = {"required": not route.streams, "content": _content(route.body)}
    return operation


def _parameter(name: str, where: str, *, slashes: bool = False) -> Json:
    parameter: Json = {"name": name, "in": where, "schema": {"type": "string"}}
    if where == "path":
        parameter["required"] = True
    if slashes:
        parameter["description"] = "It may have slashes."
    return parameter


def _content(body: type[Struct] | None) -> Json:
    if body is None:
        return {"application/octet-stream": {}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}


def _responses(route: Route[Hub]) -> Iterator[tuple[str, Json]]:
    yield "2XX", {"description": route.summary}
    if route.method == "GET":
        yield "3XX", {"description": "It is elsewhere, or as the client has it."}
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys((*route.errors, *ALWAYS)):
        codes[CODES[code].status].append(code)
    for status, named in sorted(codes.items()):
        text = " ".join(f"{code}: {CODES[code].meaning}" for code in named)
        yield (
            str(status),
            {"description": text, "content": {"application/json": {"schema": REFUSAL}}},
        )
