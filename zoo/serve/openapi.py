"""OpenAPI: the table of routes as a document of OpenAPI 3.1, for who writes a client.

See https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

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
MODEL = "/api/models/{namespace}/{name}"
HOOK = "/api/settings/webhooks"
BRANCH, TAG = {"revision": "$request.path.branch"}, {"revision": "$request.body#/tag"}
NEW = {
    "namespace": "$request.body#/organization",
    "name": "$request.body#/name",
    "revision": "main",
    "branch": "new",
}
MADE = {"id": "$response.body#/webhook/id"}
FOLLOWING: Mapping[tuple[str, str], Sequence[tuple[str, str, Mapping[str, str]]]] = {
    ("POST", "/api/repos/create"): (
        ("GET", MODEL, NEW), ("GET", f"{MODEL}/refs", NEW), ("PUT", f"{MODEL}/settings", NEW),
        ("POST", f"{MODEL}/commit/{{revision}}", NEW),
        ("POST", f"{MODEL}/branch/{{branch}}", NEW),
    ),
    ("POST", f"{MODEL}/branch/{{branch}}"): (
        ("GET", f"{MODEL}/tree/{{revision}}", BRANCH),
        ("GET", f"{MODEL}/commits/{{revision}}", BRANCH),
        ("POST", f"{MODEL}/commit/{{revision}}", BRANCH),
        ("POST", f"{MODEL}/tag/{{revision}}", BRANCH),
        ("DELETE", f"{MODEL}/branch/{{branch}}", {}),
    ),
    ("DELETE", f"{MODEL}/branch/{{branch}}"): (
        ("GET", f"{MODEL}/tree/{{revision}}", BRANCH),
        ("POST", f"{MODEL}/branch/{{branch}}", {}),
    ),
    ("POST", f"{MODEL}/tag/{{revision}}"): (
        ("GET", f"{MODEL}/revision/{{revision}}", TAG),
        ("DELETE", f"{MODEL}/tag/{{revision}}", TAG),
    ),
    ("POST", HOOK): (
        ("GET", f"{HOOK}/{{id}}", MADE), ("POST", f"{HOOK}/{{id}}", MADE),
        ("POST", f"{HOOK}/{{id}}/disable", MADE), ("POST", f"{HOOK}/{{id}}/enable", MADE),
        ("DELETE", f"{HOOK}/{{id}}", MADE),
    ),
    ("PUT", "/zoo/v1/store/{key...}"): (
        ("GET", "/zoo/v1/store/{key...}", {}), ("DELETE", "/zoo/v1/store/{key...}", {}),
    ),
}  # fmt: skip
"""What can be asked for next, and where fields of its path come from that are not those of the
request before.
"""
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
    _link(paths, called)
    bodies = [route.body for route in routes if route.body]
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "zoo", "version": version("zoo-registry")},
        "paths": {**paths},
        "components": {"schemas": schemas, "securitySchemes": {"token": TOKEN}},
    }


def _link(paths: Mapping[str, Json], called: Mapping[str, str]) -> None:
    """Say what can be asked for next. See https://spec.openapis.org/oas/v3.1.0#link-object."""
    for (method, path), following in FOLLOWING.items():
        answers = _find(paths, called, method, path)["responses"]["2XX"]
        links = answers.setdefault("links", {})
        for method_next, path_next, given in following:
            then = _find(paths, called, method_next, path_next)
            fields = [each["name"] for each in then["parameters"] if each["in"] == "path"]
            parameters = {
                f"path.{name}": given.get(name, f"$request.path.{name}") for name in fields
            }
            link = {"operationId": then["operationId"], "parameters": parameters}
            links[f"{method_next} {path_next}"] = link


def _find(paths: Mapping[str, Json], called: Mapping[str, str], method: str, path: str) -> Any:
    return paths[called[FIELD.sub("{}", path)]][method.lower()]


def _operation(route: Route[Hub], path: str) -> Json:
    fields = zip(FIELD.finditer(route.path), re.findall(r"\{(\w+)\}", path), strict=True)
    operation: Json = {
        "operationId": f"{route.method} {path}",
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
