"""nginx and the proxy side by side: running both, asking both, comparing what they answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.support.client import Connection, Response, Truncated
from tests.support.origins import Origin, Seen, origin
from tests.support.ports import free_port
from tests.support.processes import nginx, proxy

__all__ = [
    "OURS",
    "Side",
    "ask",
    "build",
    "builtin",
    "comparable_body",
    "comparable_fields",
    "compare",
    "lifetime",
    "pair",
]

#: Fields that may differ or be missing: the clock's, the name, and those RFC 9110 and 9111
#: ask of a proxy and nginx does not send.
OURS = {"server", "date", "age", "via", "cache-status", "proxy-status"}


@dataclass
class Side:
    """One of the two, with its ports and its own origin."""

    port: int
    cache_port: int
    app: Origin
    folder: Path

    def neutral(self, text: str) -> str:
        """*text* without what differs between two runs of one program."""
        for value, name in (
            (str(self.port), "PORT"),
            (str(self.cache_port), "PORT"),
            (str(self.app.port), "ORIGIN"),
            (str(self.folder), "DIR"),
        ):
            text = text.replace(value, name)
        return text


def ask(port: int, data: bytes, method: str) -> Response | None:
    """Send *data*; the response, None where the connection ends without one."""
    with Connection(port) as connection:
        connection.send(data)
        try:
            return connection.response(method)
        except Truncated:
            return None


def lifetime(response: Response) -> int | None:
    """Seconds from Date to Expires, rounded to what a second's boundary may change."""
    expires, date = response.get("Expires"), response.get("Date")
    if expires is None or date is None:
        return None
    try:
        seconds = (parsedate_to_datetime(expires) - parsedate_to_datetime(date)).total_seconds()
    except ValueError:
        return None
    return round(seconds / 5)


def comparable_fields(side: Side, response: Response) -> list[tuple[str, str]]:
    """The fields that must agree, in an order of their own."""
    skipped = set(OURS)
    if response.get("Content-Encoding") or builtin(response):
        skipped |= {"content-length", "transfer-encoding"}
    if (lifetime(response) or 0) > 0:
        skipped.add("expires")
    if response.status == 206:
        # It says nothing that the answer does not; nginx sends it or not, or twice.
        skipped.add("accept-ranges")
    found = {
        (name.lower(), side.neutral(value))
        for name, value in response.fields
        if name.lower() not in skipped
    }
    return sorted(found)


def builtin(response: Response) -> bool:
    """Whether the body is a page that the server itself made."""
    kind = response.get("Content-Type") or ""
    return response.status >= 300 and kind.startswith("text/html") and b"<hr>" in response.body


def comparable_body(side: Side, response: Response) -> object:
    """The body, decoded; an echo as the fields it shows."""
    body = response.body
    if response.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body) if body else body
    text = side.neutral(body.decode("latin-1"))
    try:
        return json.loads(text)
    except ValueError:
        return text


def compare(sides: tuple[Side, Side], answers: tuple[Response | None, Response | None]) -> None:
    """Assert that the two answers agree."""
    theirs, ours = answers
    if theirs is None or ours is None:
        assert theirs is ours, f"nginx {theirs}, we {ours}"
        return
    assert ours.status == theirs.status, f"nginx {theirs}, we {ours}"
    fields = [comparable_fields(sides[0], theirs), comparable_fields(sides[1], ours)]
    only = [sorted(set(fields[n]) - set(fields[1 - n])) for n in (0, 1)]
    assert fields[0] == fields[1], f"only nginx: {only[0]}, only we: {only[1]}"
    assert lifetime(ours) == lifetime(theirs)
    if not builtin(theirs):
        assert comparable_body(sides[1], ours) == comparable_body(sides[0], theirs)


def build(
    target: str,
    method: str = "GET",
    fields: Mapping[str, str] | None = None,
    body: str = "",
    version: str = "1.1",
) -> tuple[bytes, str]:
    """The bytes of a request and its method."""
    lines = {"Host": "localhost", **(fields or {})}
    if body and "Transfer-Encoding" not in lines:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/{version}\r\n{head}\r\n{body}".encode("latin-1"), method


@contextmanager
def pair(
    folder: Path,
    http: str,
    answer: Callable[[Origin, Seen], bytes | None],
    values: Mapping[str, object] | None = None,
) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order, with *http* as the content of their ``http`` block.

    ``@PORT@``, ``@CACHE_PORT@``, ``@ORIGIN@`` and ``@DIR@`` in it are filled in for each, and
    what *values* names. Each has an origin of its own, which answers with *answer*.
    """
    origins: list[Origin] = []
    with (
        origin(lambda seen: answer(origins[0], seen)) as first,
        origin(lambda seen: answer(origins[1], seen)) as second,
    ):
        origins += [first, second]
        sides = []
        texts = []
        for name, app in (("nginx", first), ("proxy", second)):
            side = Side(free_port(), free_port(), app, folder / name)
            text = http
            for key, value in {
                "@PORT@": side.port,
                "@CACHE_PORT@": side.cache_port,
                "@ORIGIN@": app.port,
                "@DIR@": side.folder,
                **(values or {}),
            }.items():
                text = text.replace(key, str(value))
            side.folder.mkdir(parents=True)
            sides.append(side)
            texts.append(text)
        ports = [
            [port for name, port in (("@PORT@", side.port), ("@CACHE_PORT@", side.cache_port))
             if name in http]
            for side in sides
        ]
        with (
            nginx(sides[0].folder, texts[0], ports=ports[0]),
            proxy(sides[1].folder, f"events {{}}\nhttp {{\n{texts[1]}\n}}\n", ports=ports[1]),
        ):
            yield sides[0], sides[1]
