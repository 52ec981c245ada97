"""Whole configurations: what is accepted and refused, with which words, and what comes out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.build import load, loads
from cacheproxy.errors import ConfigErrors
from cacheproxy.proxy.site.variables import resolve
from tests.config import builders

HERE = Path(__file__).resolve().parent
#: One configuration a file. The first line says what is expected of it:
#: ``accept`` or ``refuse LINE MESSAGE``, and after a semicolon what nginx does
#: where that differs: ``nginx accept``, ``nginx refuse``, or ``nginx old`` for
#: directives that nginx 1.22 does not have yet.
CASES = sorted((HERE / "cases").glob("*.conf"))
#: Configurations as users write them.
SITES = sorted((HERE / "sites").glob("*.conf"))

_HEAD = re.compile(r"# (?:(accept)|refuse (\d+) (.*?))(?:; nginx (accept|refuse|old))?")


def name_of(path: Path) -> str:
    """The test's name."""
    return path.stem


def expectation(path: Path) -> tuple[bool, int, str, str]:
    """(accepted, line, message, what is particular about nginx)."""
    match = _HEAD.fullmatch(path.read_text().splitlines()[0])
    assert match is not None, path
    return match[1] is not None, int(match[2] or 0), match[3] or "", match[4] or ""


@pytest.mark.parametrize("path", CASES, ids=name_of)
def test_verdict_and_words(path: Path) -> None:
    """Each case is accepted, or refused with the expected words at the expected line."""
    accepted, line, message, _ = expectation(path)
    try:
        load(str(path), None, resolve)
    except ConfigErrors as errors:
        assert not accepted, str(errors)
        first = errors.errors[0]
        assert first.message.startswith(message), str(errors)
        assert first.line == line, str(errors)
        assert not line or first.file == str(path)
    else:
        assert accepted, f"accepted, though it should say: {message}"


@pytest.mark.differential
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not on the PATH")
@pytest.mark.parametrize("path", CASES, ids=name_of)
def test_nginx_agrees(path: Path, tmp_path: Path) -> None:
    """nginx accepts what we accept and refuses what we refuse, apart from what the case states."""
    accepted, _, _, nginx = expectation(path)
    expected = {"": accepted, "accept": True, "refuse": False, "old": None}[nginx]
    if expected is None:
        pytest.skip("newer than the nginx that is installed may be")
    for folder in ("logs", "cache"):
        (tmp_path / folder).mkdir()
    conf = tmp_path / "nginx.conf"
    conf.write_text(path.read_text())
    result = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", conf, "-g", "pid nginx.pid; error_log stderr;"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.returncode == 0) == expected, result.stderr


@pytest.mark.parametrize("path", SITES, ids=name_of)
def test_sites_are_accepted(path: Path) -> None:
    """Configurations as users have them load as they are, with at least one way to an upstream."""
    config = load(str(path), None, resolve)
    assert config.servers
    assert config.upstreams


class LoadTests(SynchronousTestCase):
    """``load`` and ``loads`` themselves."""

    def test_every_error_at_once(self) -> None:
        """All faults are reported, in the order of the text, each with its place."""
        with self.assertRaises(ConfigErrors) as caught:
            builders.http(
                """
                server_tokens maybe;
                proxy_cache nozone;
                server {
                    listen 1.2.3.4:x;
                    locatoin / { }
                    location / { proxy_pass ftp://a; add_header X $nope; }
                }
                """
            )
        self.assertEqual(
            str(caught.exception).splitlines(),
            [
                'invalid value "maybe" in "server_tokens" directive in test.conf:3',
                '"proxy_cache" zone "nozone" is unknown in test.conf:4',
                'invalid port in "1.2.3.4:x" of the "listen" directive in test.conf:6',
                'unknown directive "locatoin" in test.conf:7 (did you mean "location"?)',
                "invalid URL prefix in test.conf:8",
                'unknown "nope" variable in test.conf:8',
            ],
        )

    def test_unsupported_directive_is_told_from_a_misspelt_one(self) -> None:
        """A directive that nginx has is named as such; the message itself is nginx's."""
        with self.assertRaises(ConfigErrors) as caught:
            builders.http("perl_modules x;")
        error = caught.exception.errors[0]
        self.assertEqual(error.message, 'unknown directive "perl_modules"')
        self.assertIn("not supported", str(error))

    def test_missing_file(self) -> None:
        """A file that cannot be read is an error of the configuration, not of Python."""
        with self.assertRaises(ConfigErrors) as caught:
            load("/nonexistent/site.conf", None, resolve)
        self.assertIn("No such file", str(caught.exception))

    def test_prefix_defaults_to_the_folder(self) -> None:
        """Relative paths start at the prefix, or at the folder of the file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "site.conf"
        path.write_text("http { error_log logs/e.log; server { root www; } } pid run/p.pid;")
        here = load(str(path), None, resolve)
        there = load(str(path), "/srv", resolve)
        self.assertEqual(here.pid, f"{folder.resolve()}/run/p.pid")
        self.assertEqual(there.pid, "/srv/run/p.pid")
        root = there.servers[0].root
        assert root.core.root is not None and root.error_log is not None
        self.assertEqual(root.core.root.constant, b"/srv/www")
        self.assertEqual(root.error_log.path, "/srv/logs/e.log")

    def test_syntax_errors_do_not_hide_others(self) -> None:
        """What was read before a fault of the syntax is still checked."""
        with self.assertRaises(ConfigErrors) as caught:
            loads("http {\n nonesuch_a on;\n server {\n", "a.conf", "/", resolve)
        self.assertEqual([error.line for error in caught.exception.errors], [2, 4])

    def test_named_faults_are_not_repeated(self) -> None:
        """A faulty value that many locations inherit is one error."""
        messages = builders.faults(
            "proxy_cache x; server { location /a { } location /b { location /b/c { } } }"
        )
        self.assertEqual(messages, ['"proxy_cache" zone "x" is unknown'])
