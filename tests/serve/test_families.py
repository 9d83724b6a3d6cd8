"""What a repository derives from, and how many derive from it, as the hub's client asks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.checkpoints import add_checkpoint, store_weights, stored_snapshot, tensors
from fakes.served import CONFIG, Served, with_files
from huggingface_hub import HfApi

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference

Family = tuple[list[str] | None, int | None]


@pytest.fixture(scope="module")
def family(served: Served) -> Served:
    """``kin/base`` has two children: ``secret/child``, which has one, is private."""
    workspace = served.server.hub.workspace
    plain = add_checkpoint(workspace, "kin/plain")
    whole = with_files(workspace, plain, config_json=CONFIG)

    def grow(name: str, parent: str = "") -> None:
        with workspace.store.upload():
            weights = store_weights(workspace.store, tensors(len(name)))
        digest = workspace.names.resolve(parent)[1] if parent else None
        parents = (Parent(manifest=digest, relation="finetune", ref=parent),) if digest else ()
        made = replace(whole, weights=(weights,), parents=parents)
        workspace.commit(made, Reference.parse(name), "finetune")

    grow("kin/base")
    grow("kin/child", "kin/base")
    grow("kin/base:next", "kin/base")
    grow("secret/child", "kin/base")
    grow("kin/grandchild", "secret/child")
    card = b"---\nbase_model: [kin/child, secret/child, kin/child, 3, ../x]\n---\n"
    workspace.move(
        Reference.parse("kin/files"), stored_snapshot(workspace.store, {"README.md": card}), "x"
    )
    return served


def told(served: Served, name: str, who: str) -> Family:
    api = HfApi(endpoint=served.url, token=served.token(who))
    found = api.model_info(name, expand=["baseModels", "childrenModelCount"])
    (listed,) = [
        each
        for each in api.list_models(
            author=name.split("/")[0], expand=["baseModels", "childrenModelCount"]
        )
        if each.id == name
    ]
    assert (listed.base_models, listed.children_model_count) == (
        found.base_models, found.children_model_count,
    )  # fmt: skip
    return found.base_models, found.children_model_count


@pytest.mark.parametrize(
    ("name", "to_ann", "to_admin"),
    [
        ("kin/base", (None, 1), (None, 2)),
        ("kin/child", (["kin/base"], 0), (["kin/base"], 0)),
        ("kin/grandchild", (None, 0), (["secret/child"], 0)),
        ("kin/files", (["kin/child"], None), (["kin/child", "secret/child"], None)),
    ],
)
def test_only_what_may_be_read_is_told(
    family: Served, name: str, to_ann: Family, to_admin: Family
) -> None:
    assert told(family, name, "ann") == to_ann
    assert told(family, name, "admin") == to_admin
    assert "baseModels" not in family.ask(f"/api/models/{name}", token=family.token("ann")).json
