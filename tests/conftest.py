"""What holds for every test: Hypothesis profiles, and a working folder of the run's own.

``HYPOTHESIS_PROFILE=deep`` searches longer; the default keeps the suite short.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fast",
    max_examples=50,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("deep", settings.get_profile("fast"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session", autouse=True)
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """trial's ``mktemp`` makes folders where the process stands: not in the source tree."""
    with pytest.MonkeyPatch.context() as patch:
        # Tests that start Python again still find the sources, and each other.
        top = str(Path(__file__).resolve().parent.parent)
        patch.setenv("PYTHONPATH", top, prepend=os.pathsep)
        patch.chdir(tmp_path_factory.mktemp("trial"))
        yield
