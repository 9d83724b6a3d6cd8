"""What stock clients of the hub do with a served zoo, in a process of their own: it reads the
address and the token once, as it starts. Prints what it found, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub as hub
from huggingface_hub import HfApi, HfFileSystem, ModelCard, hf_hub_download, snapshot_download

REPO = sys.argv[1]


def raised(call: Callable[[], object]) -> str:
    """The class of what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whichever it is, it is told
        return type(error).__name__
    return ""


def files() -> dict[str, Any]:
    """Downloads."""
    one = Path(hf_hub_download(REPO, "model.safetensors", revision="v1"))
    folder = Path(snapshot_download(REPO))
    with HfFileSystem().open(f"{REPO}/model.safetensors") as file:
        file.seek(100)
        part = file.read(50)
    whole = (folder / "model.safetensors").read_bytes()
    return {
        "v1": one.stat().st_size,
        "snapshot": sorted(path.name for path in folder.iterdir()),
        "commit": folder.name,
        "part": part == whole[100:150],
        "again": Path(hf_hub_download(REPO, "config.json")).name,
        "missing": raised(lambda: hf_hub_download(REPO, "nothing")),
    }


def looks() -> dict[str, Any]:
    """What `HfApi` reads."""
    api = HfApi()
    refs = api.list_repo_refs(REPO)
    return {
        "who": api.whoami()["name"],
        "models": sorted(model.id for model in api.list_models(author="team", filter="timm")),
        "all": len(list(api.list_models(limit=2, full=True))),
        "sha": api.model_info(REPO, files_metadata=True).sha,
        "branches": [each.name for each in refs.branches],
        "tags": [each.name for each in refs.tags],
        "commits": [each.title for each in api.list_repo_commits(REPO, formatted=True)],
        "readme": ModelCard.load(REPO).data.library_name,
        "there": [api.repo_exists(REPO), api.file_exists(REPO, "config.json")],
        "not_there": [api.repo_exists("team/x"), api.file_exists(REPO, "x")],
        "refused": [raised(call) for call in (
            lambda: api.model_info("team/x"), lambda: api.model_info(REPO, revision="x"),
            lambda: api.create_repo("team/x"), lambda: api.dataset_info("team/x"),
            lambda: api.upload_file(path_or_fileobj=b"", path_in_repo="x", repo_id=REPO),
        )],
    }  # fmt: skip


def looks_closer() -> dict[str, Any]:
    """What it reads since 0.36, or earlier."""
    api = HfApi()
    info = api.model_info(REPO)
    return {
        "parameters": info.safetensors and info.safetensors.total,
        "card": info.card_data and info.card_data.library_name,
        "tree": [each.path for each in api.list_repo_tree(REPO, expand=True)],
        "paths": [each.path for each in api.get_paths_info(REPO, ["config.json", "x"])],
        "header": sum(api.get_safetensors_metadata(REPO).parameter_count.values()),
        "revisions": [api.revision_exists(REPO, name) for name in ("v1", "x")],
        "pulls": api.list_repo_refs(REPO, include_pull_requests=True).pull_requests,
        "allowed": raised(lambda: api.auth_check(REPO)),
    }


def changes() -> dict[str, Any]:
    """What it does with repositories as such."""
    api = HfApi()
    made = api.create_repo("mine", private=True)
    newer = hasattr(api, "update_repo_settings")
    show = getattr(api, "update_repo_settings" if newer else "update_repo_visibility")
    show("ann/mine", private=False)
    public = api.model_info("ann/mine", token=False).id
    api.move_repo("ann/mine", "ann/other")
    led = api.model_info("ann/mine").id
    again = api.create_repo("ann/other", exist_ok=True).repo_id
    taken = raised(lambda: api.create_repo("ann/other"))
    api.delete_repo("ann/other")
    api.delete_repo("ann/other", missing_ok=True)
    return {
        "changes": [made.repo_id, public, led, again, taken, api.repo_exists("ann/other")],
    }


if __name__ == "__main__":
    found = {"version": hub.__version__, **files(), **looks(), **changes()}
    if hasattr(HfApi, "auth_check"):
        found |= looks_closer()
    sys.stdout.write(json.dumps(found))
