"""What a stock client tells its user of an upload that was taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, stored_snapshot
from fakes.served import CONFIG, Served, with_files
from huggingface_hub import HfApi
from huggingface_hub.utils import _http as client
from safetensors.numpy import save

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.registry import Registry

LIMITED = "its license is given as mit, but {}, which it derives from, is non-commercial"
Upload = Callable[..., str]


@pytest.fixture
def upload(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upload:
    """Send a folder to ``ann/NAME`` by ``upload_folder``; what the client told of it."""
    workspace, told = served.server.hub.workspace, list[str]()
    for name in ("team/limited", "secret/limited"):
        if not workspace.store.read_ref(Reference.parse(name)):
            snapshot = stored_snapshot(workspace.store, {"README.md": card("cc-by-nc-4.0")})
            workspace.move(Reference.parse(name), snapshot, "commit")
    api = HfApi(endpoint=served.url, token=served.token("ann", "write"))
    monkeypatch.setattr(client.logger, "warning", told.append)

    def send(name: str, **files: bytes) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for path, data in files.items():
            (folder / path.replace("__", ".")).write_bytes(data)
        client._WARNED_TOPICS.clear()  # as in a process of its own
        told.clear()
        api.create_repo(f"ann/{name}", exist_ok=True)
        api.upload_folder(repo_id=f"ann/{name}", folder_path=folder)
        return "\n".join(told)

    return send


def card(license_: str, *bases: str) -> bytes:
    named = "".join(f"\n- {base}" for base in bases)
    return f"---\nlicense: {license_}\nbase_model:{named or ' null'}\n---\n# Mine\n".encode()


def test_a_license_that_leaves_out_a_limit(upload: Upload) -> None:
    told = upload("tuned", README__md=card("mit", "nobody/there", "team/limited"))
    assert told.count(LIMITED.format("team/limited")) == 1
    assert "ann/tuned" in told
    assert upload("tuned", notes__txt=b"what does not touch it") == ""
    assert upload("tuned", README__md=card("cc-by-nc-4.0", "team/limited")) == ""
    other = b"---\nlicense: other\nlicense_name: my-nc-terms\nbase_model: team/limited\n---\n"
    assert upload("tuned", README__md=other) == ""


def test_a_parent_that_may_not_be_read_is_not_told_of(
    upload: Upload, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor whether it is there; what sources list is known to all who may send."""
    for base in ("secret/limited", "secret/no-limited", "ann/stranger", "../x", "x" * 999):
        assert upload("stranger", README__md=card("mit", base)) == "", base
    listed = {"secret/limited": "cc-by-nc-4.0", "secret/gone": "cc-by-nc-4.0"}
    monkeypatch.setattr(
        Registry, "entry_licenses",
        lambda _, paths: {path: listed[path] for path in paths if path in listed},
    )  # fmt: skip
    for base in listed:
        assert LIMITED.format(base) in upload("stranger", README__md=card("mit", base))


def test_what_a_checkpoint_derives_from_counts_without_being_named(
    upload: Upload, served: Served
) -> None:
    """The README says nothing of it; and what may not be read is not told."""
    workspace = served.server.hub.workspace
    base = add_checkpoint(workspace, "team/base", license="cc-by-nc-4.0")
    whole = replace(
        with_files(workspace, base, config_json=CONFIG), license="mit",
        parents=(Parent(manifest=base, relation="finetune", ref="team/base"),),
    )  # fmt: skip
    workspace.commit(whole, Reference.parse("ann/derived"), "finetune")
    assert LIMITED.format("team/base") in upload("derived", README__md=card("mit"))
    served.accounts.set_level("team/base", level="private")
    assert upload("derived", README__md=card("mit") + b"Once more.") == ""


def test_what_others_wrote_is_a_line_of_text(upload: Upload, served: Served) -> None:
    workspace = served.server.hub.workspace
    snapshot = stored_snapshot(
        workspace.store,
        {"README.md": b'---\nlicense: "nc \\e[31m\\u009b31m\\r\\n; \\u4e16"\n---\n'},
    )
    workspace.move(Reference.parse("team/odd"), snapshot, "commit")
    told = upload("odd", README__md=card("mit", "team/odd"))
    assert told.isprintable()
    assert "is non-commercial (nc  [31m 31m ; ?)" in told


def test_weights_that_are_none(upload: Upload) -> None:
    whole = save({"a": np.arange(4000, dtype=np.float32)})
    assert upload("cut", whole__safetensors=whole) == ""
    told = upload("cut", model__safetensors=whole[:-9], README__md=card("mit", "team/limited"))
    assert "model.safetensors cannot be read as tensors" in told
    assert "whole" not in told
    assert LIMITED.format("team/limited") in told


def test_a_remark_that_fails_fails_no_commit(
    upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no license today")

    monkeypatch.setattr("zoo.serve.hub.remarks.come_to", fails)
    assert upload("failing", README__md=card("mit", "team/limited")) == ""
