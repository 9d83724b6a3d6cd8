"""Views of an image, and the mean of what is said of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.backbones.views import averaged
from zoo.domain.task import Task
from zoo.domain.tta import MOST_VIEWS, count_views
from zoo.errors import InvalidOption

IMAGES = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


class Seen:
    """Remembers what it is shown, and says other things of each."""

    def __init__(self) -> None:
        self.views: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.views.append(images)
        return torch.randn(2, 4, generator=torch.Generator().manual_seed(len(self.views)))


def test_there_are_as_many_as_were_asked_for_and_all_are_others() -> None:
    seen = Seen()
    averaged(seen, IMAGES, MOST_VIEWS, "classification")
    assert len(seen.views) == MOST_VIEWS
    assert torch.equal(seen.views[0], IMAGES)
    assert torch.equal(seen.views[1], IMAGES.flip(-1))
    assert {each.shape for each in seen.views} == {IMAGES.shape}
    for at, one in enumerate(seen.views):
        assert not any(torch.allclose(one, other) for other in seen.views[:at])
        if at % 2:
            assert torch.allclose(one, seen.views[at - 1].flip(-1), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("task", ["classification", "multi-label"])
def test_probabilities_are_the_mean(task: Task, temperature: float) -> None:
    def shares(outputs: Tensor) -> Tensor:
        scaled = outputs.double() / temperature
        return scaled.softmax(1) if task == "classification" else scaled.sigmoid()

    found = averaged(Seen(), IMAGES, 5, task, temperature)
    seen = Seen()
    mean = torch.stack([shares(seen(IMAGES)) for _ in range(5)]).mean(dim=0)
    assert torch.allclose(shares(found), mean, atol=1e-6)


def test_numbers_are_averaged() -> None:
    seen = Seen()
    mean = torch.stack([seen(IMAGES) for _ in range(2)]).mean(dim=0)
    assert torch.allclose(averaged(Seen(), IMAGES, 2, "regression"), mean)


def test_a_device_needs_no_float64() -> None:
    """MPS has none."""

    class Far(Tensor):
        def double(self) -> Tensor:
            raise TypeError("this device has no float64")

        def cpu(self, *_: object) -> Tensor:
            return self.as_subclass(Tensor)

    outputs = torch.tensor([[1.0, 2.0]])
    found = averaged(lambda _: outputs.as_subclass(Far), IMAGES[:1], 2, "regression")
    assert torch.equal(found, outputs)


def test_what_is_sure_stays_finite() -> None:
    sure = torch.tensor([[80.0, -80.0]])
    for task in ("classification", "multi-label"):
        assert averaged(lambda _: sure, IMAGES[:1], 2, task).isfinite().all()


def test_a_network_of_one_pixel_has_views() -> None:
    image = torch.rand(1, 1, 1, 1)
    found = averaged(lambda x: x.flatten(1), image, MOST_VIEWS, "regression")
    assert torch.allclose(found, image.flatten(1)), "each view is that pixel"


@pytest.mark.parametrize("text", ["0", "1", "13", "-1", "flap", "2.0", "²", "9" * 40])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="from 2 to 12"):
        count_views(text)


def test_words_that_count() -> None:
    assert [count_views(text) for text in ("", "flip", "2", "12")] == [1, 2, 2, 12]
