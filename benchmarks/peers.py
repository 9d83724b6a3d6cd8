"""What others keep checkpoints in, run here on a local folder: their own code, called in process.

Each is a class with the same three methods: ``add`` a version of the checkpoint, tell the bytes
that are ``held`` now, and ``restore`` the newest version. `pip install -e '.[bench]'` brings all.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from zoo.store.header import parse_header

NAME = "model.safetensors"
SETTINGS = """
[core]
    no_scm = true
    remote = store
    site_cache_dir = {cache}
['remote "store"']
    url = {remote}
"""

# Peers read them as they are imported: send nothing about us, draw no bars.
os.environ |= {  # noqa: TID251 - no settings of ours
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class MLflow:
    """MLflow's model registry: a SQLite database, and a folder of artifacts.

    A version is an artifact of a run, registered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mlflow"
        self.folder.mkdir()
        self.folder.joinpath("mlflow.db").write_bytes(_empty_database())
        self.client = _mlflow_client(self.folder)
        self.experiment = self.client.create_experiment(
            "bench", artifact_location=(self.folder / "artifacts").as_uri()
        )
        self.client.create_registered_model("bench")
        self.version = ""

    def add(self, file: Path) -> None:
        """Log the file in a run, and register it."""
        run = self.client.create_run(self.experiment).info
        self.client.log_artifact(run.run_id, str(file), "weights")
        self.client.set_terminated(run.run_id)
        source = f"{run.artifact_uri}/weights"
        self.version = self.client.create_model_version("bench", source, run.run_id).version

    def held(self) -> int:
        """Bytes of the database and of the artifacts."""
        return size(self.folder)

    def restore(self, target: Path) -> None:
        """Download what the newest version of the model names."""
        from mlflow.artifacts import download_artifacts

        source = self.client.get_model_version_download_uri("bench", self.version)
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(Path(download_artifacts(source, dst_path=scratch), NAME), target)


@cache
def _empty_database() -> bytes:
    """MLflow's database as it makes it, made once: that takes longer than all measurements."""
    with tempfile.TemporaryDirectory() as folder:
        _mlflow_client(Path(folder)).search_experiments()
        return Path(folder, "mlflow.db").read_bytes()


def _mlflow_client(folder: Path) -> Any:
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(_database(folder), _database(folder))


def _database(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


class Dvc:
    """DVC: ``dvc add`` into its cache, ``dvc push`` to a remote in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = self._repo("dvc")

    def add(self, file: Path) -> None:
        """Put the file in the working folder, add and push it."""
        target = Path(self.repo.root_dir, NAME)
        shutil.copy(file, target)
        self.repo.add(str(target))
        self.repo.push()

    def held(self) -> int:
        """Bytes of the remote; the cache holds as many once more."""
        return size(self.folder / "remote")

    def restore(self, target: Path) -> None:
        """Pull into another working folder."""
        other = self._repo("other")
        shutil.copy(Path(self.repo.root_dir, f"{NAME}.dvc"), other.root_dir)
        other.pull()
        shutil.copy(Path(other.root_dir, NAME), target)

    def _repo(self, name: str) -> Any:
        from dvc.repo import Repo

        root = self.folder / name
        # Written here, as `dvc init` keeps its caches outside the folder.
        settings = SETTINGS.format(remote=self.folder / "remote", cache=root / "site")
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc" / "config").write_text(settings)
        return Repo(str(root))


class Xet:
    """Xet's own client, its store in a folder: 64 KiB chunks cut by content, LZ4 on each."""

    def __init__(self, folder: Path) -> None:
        import hf_xet

        self.folder = folder / "cas"
        self.session = hf_xet.XetSession()
        self.endpoint = f"local://{self.folder}"
        self.newest = None

    def add(self, file: Path) -> None:
        """Upload the file: the chunks that the store lacks."""
        with self.session.new_upload_commit(endpoint=self.endpoint) as commit:
            upload = commit.start_upload_file(str(file))
        self.newest = upload.result().xet_info

    def held(self) -> int:
        """Bytes of chunks and of lists of chunks; the server's index and the caches left out."""
        return sum(size(self.folder / "xet" / "xorbs" / kind) for kind in ("xorbs", "shards"))

    def restore(self, target: Path) -> None:
        """Download the newest file."""
        with self.session.new_file_download_group(endpoint=self.endpoint) as group:
            group.start_download_file(self.newest, str(target))


class ZipNN:
    """ZipNN on the whole file, set to the dtype that most of its bytes have."""

    DTYPES = {"F32": "float32", "BF16": "bfloat16"}  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "zipnn"
        self.folder.mkdir()
        self.count = 0
        self.dtype = ""

    def add(self, file: Path) -> None:
        """Compress the file into one beside the others."""
        data = bytearray(file.read_bytes())  # of its own: ZipNN shuffles the bytes in place
        found: Counter[str] = Counter()
        for entry in parse_header(file, memoryview(data)).entries:
            found[entry.dtype] += entry.end - entry.begin
        self.dtype = self.DTYPES[found.most_common(1)[0][0]]
        self.count += 1
        self._newest().write_bytes(self._coder().compress(data))

    def held(self) -> int:
        """Bytes of the compressed files."""
        return size(self.folder)

    def restore(self, target: Path) -> None:
        """Decompress the newest file."""
        target.write_bytes(self._coder().decompress(self._newest().read_bytes()))

    def _newest(self) -> Path:
        return self.folder / f"{self.count}.znn"

    def _coder(self) -> Any:
        from zipnn import ZipNN as Coder

        return Coder(input_format="byte", bytearray_dtype=self.dtype)


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
