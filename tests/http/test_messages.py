"""Heads of messages."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead, reason_phrase


class ReasonTests(SynchronousTestCase):
    def test_phrases(self) -> None:
        """A head without a phrase gets nginx's; an unknown code gets none; an empty one stays."""
        self.assertEqual(ResponseHead(404, Fields()).reason, b"Not Found")
        self.assertEqual(reason_phrase(299), b"")
        self.assertEqual(ResponseHead(200, Fields(), b"").reason, b"")
