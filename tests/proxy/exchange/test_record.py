"""What is noted of each attempt on an upstream, as ``$upstream_*`` tell it."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.proxy.exchange.record import Record, UpstreamRecord
from tests.proxy.harness import BenchCase, message, response


class RecordTests(BenchCase):
    """Times and bytes."""

    def test_fresh(self) -> None:
        """Nothing is known yet."""
        record = UpstreamRecord("a:1", 5.0)
        self.assertEqual(
            (record.status, record.connect_time, record.response_time), (0, None, None)
        )

    def test_times(self) -> None:
        """Seconds from the attempt's start."""
        bench = self.proxy(
            "",
            "access_log access.log l;",
            "log_format l '$upstream_connect_time $upstream_header_time"
            " $upstream_response_time $upstream_response_length $upstream_bytes_sent"
            " $upstream_bytes_received $request_time';",
        )
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.advance(2)
        data = response(200, b"0123456789")
        self.origin.last.send(data[:-5])
        bench.advance(3)
        self.origin.last.send(data[-5:])
        sent = len(self.origin.last.received)
        self.assertEqual(bench.log(), [f"0.000 2.000 5.000 10 {sent} {len(data)} 5.000"])

    def test_failed_attempt(self) -> None:
        """What never was is a dash."""
        bench = self.proxy(
            "",
            "access_log access.log l;",
            "log_format l '$upstream_connect_time|$upstream_header_time|$upstream_status';",
        )
        self.origin.mode = "refuse"
        bench.get(b"/")
        self.assertEqual(bench.log(), ["-|-|502"])


class RequestRecordTests(BenchCase):
    """What is noted of one request."""

    def test_request_id_is_made_once(self) -> None:
        """Whoever asks again gets the same, and chance is not asked twice."""
        asked: list[int] = []

        def random_bytes(count: int) -> bytes:
            asked.append(count)
            return bytes(range(count))

        record = Record(0.0, 0)
        first = record.identify(random_bytes)
        self.assertEqual(first, b"000102030405060708090a0b0c0d0e0f")
        self.assertEqual(record.identify(random_bytes), first)
        self.assertEqual(asked, [16])

    def test_shared_attempts_are_noted_in_both(self) -> None:
        """The attempts for a slice are told with those of the whole response."""
        whole, part = Record(0.0, 0), Record(0.0, 0)
        part.share_attempts(whole)
        part.add_attempt(UpstreamRecord("a:1", 0.0))
        self.assertEqual([attempt.address for attempt in whole.attempts], ["a:1"])

    def test_copy_notes_attempts_apart(self) -> None:
        record = Record(1.0, 0)
        record.add_attempt(UpstreamRecord("a", 1.0))
        other = record.copy()
        other.add_attempt(UpstreamRecord("b", 2.0))
        self.assertEqual([attempt.address for attempt in record.attempts], ["a"])
        self.assertEqual([attempt.address for attempt in other.attempts], ["a", "b"])
