"""Keep two libraries from fighting for the same cores.

The wheels of NumPy and SciPy each bring an OpenBLAS with threads of its own, which spin for a while
after each product. A solver that goes to and fro between the two has each wait for the other's:
logistic regression took five times as long with two threads as with one. SciPy's part, vectors
of coefficients, needs no threads. Where both share one library, nothing has to be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import scipy.linalg  # noqa: F401 - its library must be there to be found
from threadpoolctl import ThreadpoolController

__all__ = ["limit_blas_threads"]


@contextmanager
def limit_blas_threads() -> Iterator[None]:
    """A context in which a BLAS that is SciPy's alone uses one thread."""
    with _of_scipy().limit(limits=1, user_api="blas"):
        yield


@cache
def _of_scipy() -> ThreadpoolController:
    libraries = ThreadpoolController()
    paths = [Path(one["filepath"]) for one in libraries.info()]
    # In scipy.libs beside the package, or in scipy/.dylibs.
    own = [str(path) for path in paths if any(p.startswith("scipy") for p in path.parts[-3:-1])]
    return libraries.select(filepath=own)
