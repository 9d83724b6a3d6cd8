"""What stock clients of the hub send to a served zoo, in a process of their own. Prints what came
of it, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import HfApi, hf_hub_download, snapshot_download

REPO, FOLDER = sys.argv[1], Path(sys.argv[2])
SENT = sorted(path for path in FOLDER.rglob("*") if path.is_file())


def same(folder: Path) -> bool:
    """Whether a folder has what was sent, byte for byte."""
    there = {path.relative_to(FOLDER): path.read_bytes() for path in SENT}
    return all((folder / path).read_bytes() == data for path, data in there.items())


def main() -> None:
    """Send a folder twice, and then a file that has changed."""
    api = HfApi()
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=str(FOLDER))
    first = api.model_info(REPO).sha
    api.upload_folder(repo_id=REPO, folder_path=str(FOLDER))
    again = api.model_info(REPO).sha
    whole = same(Path(snapshot_download(REPO)))
    changed = (FOLDER / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\0"
    api.upload_file(path_or_fileobj=changed, path_in_repo="model.safetensors", repo_id=REPO)
    with (FOLDER / "any.bin").open("rb") as file:
        api.upload_file(path_or_fileobj=file, path_in_repo="deep/er/other.bin", repo_id=REPO)
    now = Path(hf_hub_download(REPO, "model.safetensors")).read_bytes()
    if hasattr(api, "upload_large_folder"):  # until 2.0
        api.create_repo(f"{REPO}-large")
        api.upload_large_folder(
            repo_id=f"{REPO}-large", folder_path=FOLDER, repo_type="model", print_report=False
        )
        whole = whole and same(Path(snapshot_download(f"{REPO}-large")))
    found = {
        "version": hub.__version__,
        "again": again == first,
        "whole": whole,
        "changed": now == changed,
        "before": same(Path(snapshot_download(REPO, revision=first))),
        "files": sorted(each.rfilename for each in api.model_info(REPO).siblings or ()),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
