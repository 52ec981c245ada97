"""``twistd cacheproxy``: options, the quick start, ``--test``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import io
import os
import sys
import tempfile

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy import tap
from cacheproxy.config.build import loads
from cacheproxy.config.model import Config
from cacheproxy.proxy.site.variables import resolve
from cacheproxy.service import ProxyService
from cacheproxy.tap import Options, makeService, quick_configuration

GOOD = "events {} http { server { listen 127.0.0.1:0; return 200; } }"


class TapCase(SynchronousTestCase):
    """Tests with files and a reactor that stays as it is."""

    def setUp(self) -> None:
        self.patch(tap, "_install_reactor", lambda: None)

    def file(self, text: str) -> str:
        """A configuration file."""
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "site.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.addCleanup(os.rmdir, folder)
        self.addCleanup(os.unlink, path)
        return path

    def options(self, *arguments: str) -> Options:
        """Parsed options."""
        options = Options()
        options.parseOptions(list(arguments))
        return options


class OptionsTests(TapCase):
    """Combinations."""

    def test_one_of_two(self) -> None:
        """Either --config or --upstream."""
        self.assertRaises(usage.UsageError, self.options)
        self.assertRaises(usage.UsageError, self.options, "-c", "a", "-u", "http://a")

    def test_paths_become_absolute(self) -> None:
        """twistd changes the working directory of a daemon."""
        options = self.options("--config", "some.conf", "--prefix", "base")
        self.assertEqual(options["config"], os.path.abspath("some.conf"))
        self.assertEqual(options["prefix"], os.path.abspath("base"))

    def test_bad_upstream(self) -> None:
        """Refused when the options are read."""
        for upstream in ("ftp://a", "http://", "http://a b", "http://a;root", "/path"):
            with self.assertRaises(usage.UsageError, msg=upstream):
                self.options("--upstream", upstream)

    def test_service(self) -> None:
        """The service reads the file when it starts, not before."""
        service = makeService(self.options("--config", "/nonexistent/site.conf"))
        self.assertIsInstance(service, ProxyService)


class QuickTests(TapCase):
    """The configuration that ``--upstream`` stands for."""

    def config(self, upstream: str, listen: str = "8080") -> Config:
        """Built."""
        text = quick_configuration(upstream, listen, "/tmp/quick")
        return loads(text, "--upstream", "/tmp", resolve)

    def test_is_valid(self) -> None:
        """It loads, without a warning."""
        for upstream in (
            "http://127.0.0.1:8000",
            "127.0.0.1:8000",
            "https://app.example/",
            "http://unix:/run/app.sock",
        ):
            config = self.config(upstream)
            self.assertEqual(config.warnings, ())
            self.assertEqual(config.servers[0].listens[0].port, 8080)
            self.assertIsNotNone(config.servers[0].root.locations[0].proxy.proxy_pass)

    def test_listen(self) -> None:
        """An address may be given too."""
        listen = self.config("http://a", "127.0.0.1:81").servers[0].listens[0]
        self.assertEqual(listen.address, ("127.0.0.1", 81))

    def test_injection(self) -> None:
        """No option can bring in a directive."""
        for value in (
            "a; return 200",
            "a}",
            "a{",
            "a b",
            "a$host",
            'a"',
            "a'",
            "a\\",
            "a\nb",
            "a\tb",
            "a#b",
            "a\rb",
        ):
            for arguments in (
                (f"http://{value}", "80", "/c"),
                ("http://a", value, "/c"),
                ("http://a", "80", value),
            ):
                with self.assertRaises(usage.UsageError, msg=repr(arguments)):
                    quick_configuration(*arguments)

    def test_cache_folder(self) -> None:
        """Below the prefix, or in the user's folder for caches."""
        options = self.options("--upstream", "http://a", "--prefix", "/srv/x")
        config = tap._loader(options)()
        self.assertEqual(next(iter(config.zones.values())).path, "/srv/x/cache")
        self.patch(os, "environ", {**os.environ, "XDG_CACHE_HOME": "/home/u/.c"})
        config = tap._loader(self.options("--upstream", "http://a"))()
        self.assertEqual(next(iter(config.zones.values())).path, "/home/u/.c/cacheproxy")


class TestTests(TapCase):
    """``--test``."""

    def check(self, text: str) -> tuple[object, str]:
        """The exit code and what is printed for a configuration, with FILE for its name."""
        path = self.file(text)
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        with self.assertRaises(SystemExit) as caught:
            self.options("--test", "--config", path)
        return caught.exception.code, errors.getvalue().replace(path, "FILE")

    def test_good(self) -> None:
        """nginx's two lines."""
        code, text = self.check(GOOD)
        self.assertEqual(code, 0)
        self.assertIn("the configuration file FILE syntax is ok\n", text)
        self.assertIn("configuration file FILE test is successful\n", text)

    def test_faults(self) -> None:
        """Every fault with its line."""
        code, text = self.check("events {}\nhttp {\n  foo 1;\n  bar 2;\n}\n")
        self.assertEqual(code, 1)
        self.assertIn('[emerg] unknown directive "foo" in FILE:3', text)
        self.assertIn('[emerg] unknown directive "bar" in FILE:4', text)
        self.assertIn("configuration file FILE test failed", text)

    def test_missing_file(self) -> None:
        """A file that cannot be opened."""
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        with self.assertRaises(SystemExit) as caught:
            self.options("--test", "--config", "/nonexistent/site.conf")
        self.assertEqual(caught.exception.code, 1)
        self.assertIn("/nonexistent/site.conf", errors.getvalue())

    def test_missing_certificate(self) -> None:
        """What the text does not show is checked too."""
        code, text = self.check(
            "events {} http { server { listen 127.0.0.1:0 ssl; return 200;"
            " ssl_certificate /nonexistent.pem; ssl_certificate_key /nonexistent.key; } }"
        )
        self.assertEqual(code, 1)
        self.assertIn("/nonexistent.pem", text)

    def test_quick(self) -> None:
        """The quick start can be tested as well."""
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        with self.assertRaises(SystemExit) as caught:
            self.options("--test", "--upstream", "http://127.0.0.1:8000")
        self.assertEqual(caught.exception.code, 0)
