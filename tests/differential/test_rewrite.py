"""``rewrite``, ``set``, ``if``, ``break`` and ``return`` beside nginx."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.conf import answer, make_files
from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

HTTP = Path(__file__).with_name("rewrite.conf").read_text()

#: What a rewritten path is made of: plain, escaped, with what means something in a query.
TAILS = ["", "x", "a/b", "a%20b", "a+b", "%2F", "a%3Fb", "%26", "%C3%BC", "a;b", "x%25y"]
PREFIXES = [
    "/server/last/", "/server/two/", "/server/break/", "/server/args/", "/server/noargs/",
    "/server/gone/", "/server/found/", "/server/here/", "/server/clean/", "/server/scheme/",
    "/proxied/kept/", "/proxied/whole/", "/proxied/", "/plain/r/", "/plain/q/", "/plain/",
    "/re/n/", "/circle/", "/stays/",
]  # fmt: skip
QUERIES = ["", "?a=1", "?a=%20&b", "?"]

PLAIN = [
    "/", "/?a=3", "/to-inside", "/inside", "/turn", "/turn2", "/turn3", "/empty", "/empty/x",
    "/stays/index.html", "/stays/b.html", "/stays/", "/order", "/unset", "/never", "/args?y=2",
    "/args?q", "/files/", "/index/page.html", "/index/", "/index/dir/", "/index/dir",
    "/limited", "/denied", "/denied/moved", "/paged/x", "/paged", "/try/x", "/try/x?set=1",
    "/field/b.html", "/field/b.html?in=1", "/field/none", "/field/b.html?status=1",
    "/field/b.html?in=1&status=1", "/proxied/x?other=1", "/proxied/x?var=2",
    "/proxied/x?other=1&var=2", "/proxied/whole/x?other=1", "/plain/x?setargs=1",
    "/exists/?p=/page.html", "/exists/?p=/dir", "/exists/?p=/nothing", "/exists/?p=",
    "/if/", "/if/?v=0", "/if/?v=1", "/if/?v=false", "/if/?eq=one", "/if/?ne=one", "/if/?re=abc",
    "/if/?re=ABC", "/if/?ri=ABC&re=ABC", "/if/?nr=a&ni=A", "/if/?nr=A&ni=b", "/if/?re=abd",
    "/re/n/ab", "/re/n/a", "/re/%41/b%20c",
]  # fmt: skip

FIELDS: list[dict[str, str]] = [
    {"X-Stop": "1"},
    {"X-Stop": "0"},
    {"X-Text": "yes"},
    {"X-Set": "more"},
    {"X-Break": "1"},
    {"X-Set": "a", "X-Break": "1"},
    {"Host": "tenant.named.test"},
    {"Host": "other.named.test", "X-Set": "q"},
    {"Mapped": "qx"},
]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Both, with one tree of files."""
    files = tmp_path_factory.mktemp("files")
    make_files(files)
    folder = tmp_path_factory.mktemp("rewrite")
    with pair(folder, HTTP, answer, {"@FILES@": files}) as both:
        yield both


def agree(sides: tuple[Side, Side], *request: object, **more: object) -> None:
    """Both answer alike."""
    data, method = build(*request, **more)  # type: ignore[arg-type]  # as written below
    compare(sides, (ask(sides[0].port, data, method), ask(sides[1].port, data, method)))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_rewritten_paths_and_queries(sides: tuple[Side, Side], prefix: str) -> None:
    """Every tail with every query."""
    for tail, query in itertools.product(TAILS, QUERIES):
        agree(sides, prefix + tail + query)


@pytest.mark.parametrize("target", PLAIN)
def test_targets(sides: tuple[Side, Side], target: str) -> None:
    """Whatever the method."""
    for method in ("GET", "POST"):
        agree(sides, target, method)


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_fields(sides: tuple[Side, Side], fields: dict[str, str]) -> None:
    """Conditions on what the client says."""
    for target in ("/", "/loc/x?a=2", "/if/?re=abc", "/proxied/x", "/server/last/y", "/re/n/ab"):
        agree(sides, target, "GET", fields)
