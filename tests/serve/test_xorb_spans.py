"""A span of a xorb has the chunks and the bytes that the shard says, or nothing is read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import store_weights

from zoo.errors import Corrupt
from zoo.serve.keep.chunk_list import Chunk
from zoo.serve.keep.files import FileLayout
from zoo.serve.keep.shard import ChunkRange
from zoo.serve.keep.xorbs import VirtualReader
from zoo.workspace import Workspace


def test_a_span_of_another_size(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        file = store_weights(workspace.store, {"w": np.arange(100, dtype=np.float32)})
        layout = FileLayout(workspace.store, file)
        whole = b"".join(bytes(each) for part in layout.parts(0, file.size)
                         for each in part.pieces())  # fmt: skip
        chunks = [Chunk(bytes([at]) * 32, size) for at, size in enumerate((50, 70, 30))]
        xorb = VirtualReader(layout, 10, chunks)
        fine = ChunkRange("x", begin=1, end=3, size=100)
        assert b"".join(map(bytes, xorb.read(fine))) == whole[60:160]
        assert [*xorb.chunks(fine)] == chunks[1:]
        for begin, end, size in ((1, 3, 99), (1, 3, 101), (0, 3, 100), (1, 4, 100), (1, 2, 100)):
            wrong = ChunkRange("x", begin=begin, end=end, size=size)
            with pytest.raises(Corrupt):
                [*xorb.read(wrong)]
            with pytest.raises(Corrupt):
                xorb.chunks(wrong)
