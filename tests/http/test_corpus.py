"""Malformed messages and the answer that each must get."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.http.recording import Requests, Responses

_CORPUS = Path(__file__).parent / "corpus"


def _cases(kind: str) -> list[tuple[str, bytes, int]]:
    folder = _CORPUS / kind
    expected = json.loads((folder / "expected.json").read_text())
    files = {path.stem for path in folder.glob("*.http")}
    assert files == set(expected), files ^ set(expected)
    return [
        (name, (folder / f"{name}.http").read_bytes(), row["status"])
        for name, row in sorted(expected.items())
    ]


class RequestCorpusTests(SynchronousTestCase):
    def test_enough(self) -> None:
        """The folders hold what they are meant to hold."""
        self.assertGreaterEqual(len(_cases("requests")), 60)
        self.assertGreaterEqual(len(_cases("responses")), 30)

    def test_refused_whole_and_bytewise(self) -> None:
        """Each request gets its status once, and the parser is dead, however it arrives."""
        for name, data, status in _cases("requests"):
            for step in (len(data), 7, 1):
                seen = Requests()
                for start in range(0, len(data), step):
                    seen.parser.feed(data[start : start + step])
                self.assertEqual(seen.calls[-1:], [("error", status)], (name, step))
                self.assertEqual(seen.names().count("error"), 1, name)
                self.assertTrue(seen.parser.dead, name)

    def test_nothing_behind_is_read(self) -> None:
        """No request behind a refused one is delivered (RFC 9112 §6.3)."""
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        for name, data, _ in _cases("requests"):
            seen = Requests()
            seen.parser.feed(data + smuggled)
            seen.parser.feed(smuggled)
            self.assertNotIn(b"/smuggled", [head.target for head in seen.heads], name)


class ResponseCorpusTests(SynchronousTestCase):
    def test_refused_whole_and_bytewise(self) -> None:
        """Each response is an error once, however it arrives."""
        for name, data, _ in _cases("responses"):
            for step in (max(len(data), 1), 7, 1):
                seen = Responses()
                for start in range(0, len(data), step):
                    seen.parser.feed(data[start : start + step])
                seen.parser.eof()
                self.assertEqual(seen.names()[-1:], ["error"], (name, step))
                self.assertEqual(seen.names().count("error"), 1, name)
                self.assertTrue(seen.parser.dead, name)
