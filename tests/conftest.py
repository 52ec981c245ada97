"""What holds for every test: Hypothesis profiles, and a working folder of the run's own.

``HYPOTHESIS_PROFILE=deep`` searches longer; the default keeps the suite short.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
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

#: Everything that a test makes with ``tempfile`` lies in here, and goes with the run.
_temporary = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Give ``tempfile`` a folder of the run's own, before any test module is imported."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs so, and every process that a test starts inherits it:
        # Ctrl-C would not end them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # pytest's own tmp_path stays where it is: what a failed test left there is to be read.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    config.stash[_temporary] = tempfile.tempdir = tempfile.mkdtemp(prefix="cacheproxy-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    tempfile.tempdir = None
    shutil.rmtree(config.stash[_temporary], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """trial's ``mktemp`` makes folders where the process stands: not in the source tree."""
    with pytest.MonkeyPatch.context() as patch:
        # Tests that start Python again still find the sources, and each other.
        top = str(Path(__file__).resolve().parent.parent)
        patch.setenv("PYTHONPATH", top, prepend=os.pathsep)
        patch.chdir(tmp_path_factory.mktemp("trial"))
        yield
