"""Late entry on a device whose memory is full: no other way is tried, which would take more."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from zoo import plugins
from zoo.backbones import from_cut as entry
from zoo.backbones.from_cut import FromCut


@pytest.mark.parametrize("place", ["extrapolated", "filled"])
def test_a_lack_of_memory_is_not_taken_for_something_else(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    asked = []

    def full(*_: Any) -> None:
        asked.append(place)
        raise torch.OutOfMemoryError

    module = timm.create_model("test_resnet").eval()
    hierarchy = plugins.backbone("timm").hierarchy("test_resnet", module)
    late = FromCut(module, hierarchy, hierarchy.cut_below(3))
    images = torch.randn(5, 3, 32, 32)
    entering = late.record(images)
    monkeypatch.setattr(entry, place, full)
    with pytest.raises(torch.OutOfMemoryError):
        late.forward(entering, images)
    assert asked == [place]
