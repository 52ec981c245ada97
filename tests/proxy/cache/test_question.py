"""What the origin is asked is settled before, and does not change while it takes its time."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from dataclasses import FrozenInstanceError

from cacheproxy.proxy.cache import lookup
from cacheproxy.proxy.cache.fetching import Fetch
from cacheproxy.proxy.cache.question import Asker, Question
from tests.proxy.harness import BenchCase, Client, message, response

SHORT = b"Cache-Control: max-age=1"


class QuestionTests(BenchCase):
    """``Question``, as a look-up makes it."""

    def ask(self, *fields: bytes) -> tuple[Client, Question]:
        """A client, and what the origin is being asked for it."""
        asked: list[Question] = []

        def make(question: Question, asker: Asker) -> Fetch:
            asked.append(question)
            return Fetch(question, asker)

        self.patch(lookup, "Fetch", make)
        client = self.bench.client()
        client.send(message(b"GET", b"/", *fields))
        return client, asked[0]

    def test_frozen(self) -> None:
        self.cache()
        _, question = self.ask()
        with self.assertRaises(FrozenInstanceError):
            question.storing = False  # type: ignore[misc]

    def test_miss(self) -> None:
        """Nothing is stored, and the answer may be."""
        self.cache()
        client, question = self.ask()
        self.assertEqual((question.validated, question.missing), (None, None))
        self.assertTrue(question.storing and question.has_client)
        self.assertEqual(question.forward_reason, b"uri-miss")
        self.assertEqual(question.first_variant_digest, question.digest)
        client.vanish()
        self.assertFalse(question.has_client)

    def test_stale_response_is_validated(self) -> None:
        self.cache("proxy_cache_revalidate on;")
        self.origin.reply(response(200, b"page", SHORT, b'ETag: "1"'))
        self.bench.get(b"/")
        self.bench.advance(2)
        _, question = self.ask()
        entry = question.validated
        assert entry is not None
        self.assertEqual(question.first_variant, entry.stored)
        self.assertEqual(question.forward_reason, b"stale")
        whole = question.for_the_whole()
        self.assertEqual((whole.validated, whole.digest), (None, question.digest))

    def test_other_variant_knows_the_first(self) -> None:
        """Which head is stored for the URL tells where another variant is put."""
        self.cache()
        self.origin.reply(response(200, b"a", b"Cache-Control: max-age=60", b"Vary: X-A"))
        self.bench.get(b"/", b"X-A: a")
        _, question = self.ask(b"X-A: b")
        assert question.first_variant is not None
        self.assertEqual(question.first_variant.vary, ((b"x-a", b"a"),))
        self.assertNotEqual(question.first_variant_digest, question.digest)
        self.assertEqual(question.forward_reason, b"vary-miss")
