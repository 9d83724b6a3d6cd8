"""The document of OpenAPI, and a server that is asked all that it allows, and more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_zoo import make_zoo
from fakes.served import Served, serving
from starlette.datastructures import QueryParams

import zoo
from zoo.serve.http import call
from zoo.serve.http.errors import CODES
from zoo.serve.http.router import FIELD
from zoo.serve.table import PROGRAMS

SPEC = "/zoo/v1/openapi.json"
FEW = 50
"""Examples of each route, with fewer of which none may be answered so that another one follows."""
FIELDS = {
    "namespace": ["team", "eve", "new"],
    "name": ["net", "new"],
    "revision": ["main", "v1", "new"],
    "branch": ["main", "new"],
    "user": ["eve", "nobody"],
    "organization": ["eve", "team"],
    "path": ["model.safetensors", "config.json", "README.md", "no/such"],
    "folder": ["refs", "objects", "*", "refs/team/net"],
}
"""What is there, and what is not: anything else would be "not found" a thousand times."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = make_zoo(tmp_path_factory.mktemp("openapi") / "zoo")
    with zoo.open(root) as opened:
        opened.tag("team/net", "team/net:v1")
        opened.tag("team/net", "eve/net")
    with serving(root) as served:
        yield served


def test_it_has_each_route_for_programs(served: Served) -> None:
    found = served.ask(SPEC).json
    operations = {
        (method.upper(), FIELD.sub("{}", path)): operation
        for path, item in found["paths"].items()
        for method, operation in item.items()
    }
    assert set(operations) == {(row.method, FIELD.sub("{}", row.path)) for row in PROGRAMS}
    for row in PROGRAMS:
        operation = operations[row.method, FIELD.sub("{}", row.path)]
        assert operation["summary"] == row.summary
        told = {str(CODES[code].status) for code in row.errors}
        assert told <= set(operation["responses"])
        assert (operation["security"] == []) is (row.scope == "open")
        assert ({} in operation["security"]) is (row.scope == "listed")


def test_its_paths_name_their_fields(served: Served) -> None:
    for path, item in served.ask(SPEC).json["paths"].items():
        for operation in item.values():
            fields = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert fields == re.findall(r"\{(\w+)\}", path), path


def test_bodies_are_described(served: Served) -> None:
    found = served.ask(SPEC).json
    created = found["paths"]["/api/repos/create"]["post"]["requestBody"]["content"]
    assert created == {"application/json": {"schema": {"$ref": "#/components/schemas/NewRepo"}}}
    schema = found["components"]["schemas"]["NewRepo"]
    assert schema["required"] == ["name"]
    assert {"visibility", "private", "organization"} <= set(schema["properties"])


def test_what_is_looked_at_after_the_question_mark_is_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = set[str]()

    class Noted(QueryParams):
        def get(self, key: Any, default: Any = None) -> Any:
            looked.add(key)
            return super().get(key, default)

        def getlist(self, key: Any) -> list[str]:
            looked.add(key)
            return super().getlist(key)

    monkeypatch.setattr(call, "QueryParams", Noted)
    fields = {name: values[0] for name, values in FIELDS.items()} | {"namespace": "eve"}
    token = served.token("admin", "write")
    some = set[str]()
    for row in PROGRAMS:
        looked.clear()
        path = FIELD.sub(lambda field: fields.get(field[1], "0"), row.path)
        served.ask(path, row.method, token=token, body=b"{}" if row.method != "GET" else b"")
        assert looked <= {*row.query}, row.path
        some |= looked
    assert {"since", "search", "recursive", "expand", "seal", "create_pr", "p"} <= some


@pytest.mark.parametrize("row", [row for row in PROGRAMS if row.body], ids=lambda row: row.path)
def test_a_body_that_is_not_so_is_refused(served: Served, row: Any) -> None:
    fields = {"namespace": "eve", "name": "net", "revision": "main", "branch": "new", "id": "1"}
    fields["key"] = f"objects/00/{'0' * 64}"
    path = FIELD.sub(lambda field: fields[field[1]], row.path)
    got = served.ask(path, row.method, token=served.token("eve", "write"), body=b"[1]")
    assert got.code == "BadRequest", got.body


@pytest.mark.fuzz
def test_nothing_fails_whatever_is_sent(served: Served, tmp_path: Path) -> None:
    """By schemathesis, which is installed from the package index; ``FUZZ_EXAMPLES`` of each route,
    for an admin, for an account, and for nobody.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    folder = tmp_path / "site"
    got = subprocess.run([*pip, "--target", str(folder), "schemathesis"], check=False)
    if got.returncode:
        pytest.skip("schemathesis cannot be installed here")
    refs = served.root / "refs"
    keys = [str(each.relative_to(served.root)) for each in refs.rglob("*") if each.is_file()]
    fields = {**FIELDS, "key": [*keys, f"objects/00/{'0' * 64}"]}
    (tmp_path / "schemathesis.toml").write_text(
        "[parameters]\n"
        + "".join(f"{name} = {values!r}\n" for name, values in fields.items())
        + '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "501", "503"]\n'
    )
    examples, links = int(os.environ.get("FUZZ_EXAMPLES", "50")), list[int]()
    for token in (served.token("admin", "write"), served.token("eve", "write"), ""):
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}{SPEC}",
            "--max-examples", str(examples),
            "--phases", "coverage,fuzzing,stateful", "--continue-on-failure",
            "--checks", "not_a_server_error,status_code_conformance",
            # So few are the same each time, as those of other tests are.
            *(["--generation-deterministic"] if examples < FEW else []),
            *(["--header", f"Authorization: Bearer {token}"] if token else []),
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(folder), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        links += [int(each) for each in re.findall(r"API Links: +(\d+) covered", done.stdout)]
        counted = re.findall(r"^  (\d+ generated.*)$", done.stdout, re.MULTILINE)
        print(f"{counted}, links followed: {links[-1]}")  # noqa: T201
    assert examples < FEW or sum(links) > 0, "no request followed from another one"
