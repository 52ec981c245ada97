"""Sizes, times, flags."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config import units

UNITS = {"y": 31536000, "M": 2592000, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


class UnitsTests(SynchronousTestCase):
    """``ngx_parse.c``."""

    def test_sizes(self) -> None:
        """Suffixes in either case; only offsets know ``g``."""
        self.assertEqual(units.size("8k"), 8192)
        self.assertEqual(units.size("1M"), 1 << 20)
        self.assertEqual(units.size("100"), 100)
        self.assertEqual(units.offset("2G"), 2 << 30)
        for text in ("1g", "", "k", "-1", "1kk", "1 k", "0x10", "9" * 30, "١k"):
            self.assertRaises(ValueError, units.size, text)

    def test_times(self) -> None:
        """Units fall, ``M`` is a month, and a number alone is seconds."""
        self.assertEqual(units.seconds("500ms"), 0.5)
        self.assertEqual(units.seconds("1h30m"), 5400)
        self.assertEqual(units.seconds("1h 30m"), 5400)
        self.assertEqual(units.seconds("1M"), 30 * 86400)
        self.assertEqual(units.seconds("75"), 75)
        self.assertEqual(units.whole_seconds("1d"), 86400)
        for text in ("", "1x", "30s1m", "1m1m", "-1", "s", "1.5s", "1 2", "ms", "30 1m"):
            self.assertRaises(ValueError, units.seconds, text)
        self.assertRaises(ValueError, units.whole_seconds, "10ms")

    def test_flags_and_numbers(self) -> None:
        """``on`` and ``off`` in any case; digits and nothing else."""
        self.assertIs(units.flag("ON"), True)
        self.assertIs(units.flag("off"), False)
        self.assertRaises(ValueError, units.flag, "yes")
        self.assertEqual(units.number("007"), 7)
        for text in ("", "-1", "1k", "²", "9" * 40):
            self.assertRaises(ValueError, units.number, text)

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(st.sampled_from(sorted(UNITS)), st.integers(0, 500), min_size=1))
    def test_times_add_up(self, parts: dict[str, int]) -> None:
        """A time of several parts, largest unit first, is their sum."""
        ordered = sorted(parts, key=lambda unit: -UNITS[unit])
        text = "".join(f"{parts[unit]}{unit}" for unit in ordered)
        self.assertEqual(units.seconds(text), sum(UNITS[u] * n for u, n in parts.items()))
        self.assertEqual(units.whole_seconds(text), units.seconds(text))

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="0123456789kKmMgGsdhwyx. -", max_size=8))
    def test_any_text_is_a_value_or_a_value_error(self, text: str) -> None:
        """No text does anything but give a number of 0 or more, or ValueError."""
        for parse in (units.size, units.offset, units.seconds, units.whole_seconds, units.number):
            try:
                self.assertGreaterEqual(parse(text), 0)
            except ValueError:
                pass
