from __future__ import annotations

import pytest
from fakes import threads

one_thread = pytest.fixture(autouse=True, scope="session")(threads.one_thread)
