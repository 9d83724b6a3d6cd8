"""Zoo: everything that can be done with a zoo, in one place. Each method hands on to its package.

Torch, timm and numpy are imported by the methods that touch tensors, not before.
"""

from zoo.facade.finding import Finding
from zoo.facade.sharing import Sharing
from zoo.facade.tuning import Tuning
from zoo.facade.working import Working

__all__ = ["Zoo"]


class Zoo(Finding, Sharing, Working, Tuning):
    """A zoo on disk. A context manager; `close` releases its registry."""
