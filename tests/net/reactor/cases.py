"""Twisted's own reactor tests, bound to the uvloop reactor.

``twisted.internet.test`` writes its tests against any reactor; ``bind`` makes the test cases of
one builder for ours. Each case has a loop of its own, closed afterwards.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import asyncio
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from cacheproxy.net.reactor.reactor import UvloopReactor

__all__ = ["bind", "in_temporary_folder", "make_reactor"]


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twisted's tests make files where they stand. To be imported by the test modules."""
    monkeypatch.chdir(tmp_path)


def make_reactor(case: Any) -> UvloopReactor:
    """A reactor for one test."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)

    def close() -> None:
        loop.close()
        asyncio.set_event_loop(None)

    case.addCleanup(close)
    return UvloopReactor(loop)


def bind(
    *builders: Any,
    factory: Callable[[Any], UvloopReactor] = make_reactor,
    inapplicable: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Test cases of these builders with our reactor, by name.

    ``inapplicable`` names test methods and the reason why each says nothing about us.
    """
    cases = {}
    for builder in builders:
        bound: Any = type(builder.__name__, (builder,), {"_reactors": [_NAME]})
        for case in bound.makeTestCaseClasses().values():
            case.reactorFactory = factory
            case.__test__ = True
            for method, reason in (inapplicable or {}).items():
                if hasattr(case, method):
                    setattr(case, method, _skipped(getattr(case, method), reason))
            case.__name__ = case.__qualname__ = f"{builder.__name__}_Uvloop"
            cases[case.__name__] = case
    return cases


_NAME = "cacheproxy.net.reactor.reactor.UvloopReactor"


def _skipped(method: Any, reason: str) -> Any:
    def test(self: Any) -> None:
        raise AssertionError("skipped")

    test.__name__, test.__doc__ = method.__name__, method.__doc__
    test.skip = reason  # type: ignore[attr-defined]
    return test
