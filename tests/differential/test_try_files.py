"""``try_files`` beside nginx: which file, folder, redirect or fallback answers.

The locations are in ``try_files.conf``. Every location is asked for every path of ``PATHS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

HTTP = Path(__file__).with_name("try_files.conf").read_text()
LOCATIONS = [
    words[-1]
    for line in HTTP.splitlines()
    if line.strip().startswith("location ")
    and (words := line.partition("{")[0].split())
    and words[-1].startswith("/") and "/301" not in line
]
REGEX = [
    line.partition("^")[2].partition("(")[0]
    for line in HTTP.splitlines()
    if line.strip().startswith("location ~")
]

#: Below a location, files and folders of them.
PATHS = [
    "", "/", "/file.txt", "/file.txt/", "/folder", "/folder/", "/folder/index.html",
    "/folder?a=b", "/folder?", "/folder/?a=b", "/bare", "/bare/", "/bare?a", "/none", "/none/",
    "/none?a=b", "/sp%20ace", "/sp%20ace/", "/%C3%BC", "/per%25cent", "/qu%3Fes", "/a%22b",
    "/folder//", "//folder", "/folder/deep", "/folder/../folder", "/folder/.", "/%66older",
    "/page", "/?f=file.txt", "/?f=folder", "/?f=folder/", "/?f=none", "/?d=plain",
    "/folder?d=plain", "/file.txt?d=plain",
]  # fmt: skip


def make_tree(folder: Path) -> None:
    """The same files and folders below each of the locations that are named after a folder."""
    names = {name.strip("/").split("/")[0] for name in LOCATIONS} | {"plain", "static"}
    for name in sorted(names - {"alias", "echo"}):
        top = folder / "tree" / name
        for inner in ("folder/deep", "bare", "sp ace", "ü", "per%cent", "qu?es", 'a"b'):
            (top / inner).mkdir(parents=True, exist_ok=True)
        (top / "file.txt").write_text(f"file of {name}\n")
        (top / "page.html").write_text("page\n")
        (top / "bare/file").write_text("no index beside me\n")
        (top / "folder/index.html").write_text(f"index of {name}\n")
    (folder / "tree/index.html").write_text("index\n")


def answer(_: Origin, seen: Seen) -> bytes:
    """What was asked."""
    return reply(f"{seen.method} {seen.target}\n".encode(), Content_Type="text/plain")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    files = tmp_path_factory.mktemp("files")
    make_tree(files)
    with pair(tmp_path_factory.mktemp("sides"), HTTP, answer, {"@FILES@": files}) as both:
        yield both


def both(sides: tuple[Side, Side], target: str, method: str = "GET", host: str = "") -> None:
    """Ask both, and compare."""
    data, method = build(target, method, {"Host": host} if host else None)
    answers = [ask(side.port, data, method) for side in sides]
    for answer in answers:
        if method == "HEAD" and answer is not None and answer.status >= 300:
            # The length of a page that differs in the server's name.
            answer.fields = [one for one in answer.fields if one[0] != "Content-Length"]
    compare(sides, (answers[0], answers[1]))


@pytest.mark.parametrize("location", sorted({*LOCATIONS, *REGEX}))
def test_location(sides: tuple[Side, Side], location: str) -> None:
    """Status, fields (Location with its escapes) and body."""
    faults = []
    for path in PATHS:
        for target in {location + path, location.rstrip("/") + path}:
            try:
                both(sides, target or "/")
            except AssertionError as fault:
                faults.append(f"{target}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("host", ["whole.test", "plain.test"])
def test_server(sides: tuple[Side, Side], host: str) -> None:
    """``try_files`` of a whole server, and with ``absolute_redirect off``."""
    for path in PATHS:
        for folder in ("", "/plain", "/none"):
            if folder + path:
                both(sides, folder + path, host=host)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
@pytest.mark.parametrize("location", ["/plain", "/alias", "/named", "/static", "/proxied"])
def test_method(sides: tuple[Side, Side], location: str, method: str) -> None:
    """The same file or redirect is found whatever the method."""
    for path in ("/file.txt", "/folder", "/folder/", "/bare", "/none"):
        both(sides, location + path, method)


@pytest.mark.parametrize("target", ["/redirects/301", "/redirects/308", "/redirects/out", "/slash"])
def test_redirect(sides: tuple[Side, Side], target: str) -> None:
    """The type of a redirect's page: without ``charset`` for 301 and 302."""
    both(sides, target)
