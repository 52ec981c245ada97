"""Text with variables."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ConfigError
from cacheproxy.template import Getter, Template, compile_template, constant_template

VALUES = {"a": b"1", "bc": b"22", "d_e": b"", "1": b"one"}


def resolve(name: str) -> Getter | None:
    """A variable whose value does not depend on the request."""
    value = VALUES.get(name)
    return None if value is None else lambda context: value


def compiled(text: str) -> Template:
    """Compile with the variables above."""
    return compile_template(text, resolve)


class TemplateTests(SynchronousTestCase):
    """``ngx_http_compile_complex_value``."""

    def test_rendering(self) -> None:
        """Names end where a name can end; braces end them elsewhere."""
        for text, expected in {
            "": b"",
            "x": b"x",
            "$a": b"1",
            "x$a": b"x1",
            "$a.$bc": b"1.22",
            "${a}bc": b"1bc",
            "$d_e-": b"-",
            "$1$10": b"oneone0",
            "é$a": "é1".encode(),
        }.items():
            self.assertEqual(compiled(text).render(None), expected, text)

    def test_constants(self) -> None:
        """A text without variables is its own value."""
        self.assertEqual(compiled("abc").constant, b"abc")
        self.assertIsNone(compiled("$a").constant)
        self.assertEqual(constant_template(b"$a\xff").render(None), b"$a\xff")

    def test_variables(self) -> None:
        """A template knows what it reads."""
        self.assertEqual(compiled("$a$bc$a").variables, {"a", "bc"})

    def test_faults(self) -> None:
        """Unknown names, and a ``$`` without one."""
        for text in ("$zz", "$", "a$", "$-", "${a", "${}", "$$a"):
            self.assertRaises(ConfigError, compiled, text)

    def test_equality(self) -> None:
        """Templates compare by their text."""
        self.assertEqual(compiled("$a"), compiled("$a"))
        self.assertNotEqual(compiled("$a"), compiled("${a}"))
        self.assertEqual(len({compiled("$a"), compiled("$a")}), 1)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(["x", " ", "/", "${a}", "${bc}", "${d_e}", "é"]), max_size=8))
    def test_parts_render_in_order(self, parts: list[str]) -> None:
        """Rendering a text is joining what its parts render to."""
        whole = compiled("".join(parts)).render(None)
        self.assertEqual(whole, b"".join(compiled(part).render(None) for part in parts))
