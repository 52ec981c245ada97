"""The account, the limits and the memory of the process."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import dataclasses
import gc
import os
import resource
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ConfigError
from cacheproxy.process import account_of, become, raise_descriptor_limit, settle_memory
from tests.config.builders import http


class AccountTests(SynchronousTestCase):
    """``user``."""

    def setUp(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.config = http("server { listen 80; }")

    def named(self, *user: str) -> Any:
        """The account of ``user``."""
        return account_of(dataclasses.replace(self.config, user=user))

    def test_account_is_looked_up_with_its_group(self) -> None:
        """Its own group, or the one that is named."""
        self.assertEqual(self.named("root", "")[1:], (0, 0))
        self.assertEqual(self.named("root", "root")[1:], (0, 0))

    def test_unknown_names_are_errors_of_the_configuration(self) -> None:
        """In nginx's words."""
        for user in (("no-such-user", ""), ("root", "no-such-group")):
            error = self.assertRaises(ConfigError, self.named, *user)
            self.assertIn('("no-such', str(error))

    def test_without_root_nothing_can_be_changed(self) -> None:
        """As without the directive."""
        self.assertIsNone(account_of(dataclasses.replace(self.config, user=None)))
        self.patch(os, "geteuid", lambda: 1000)
        self.assertIsNone(self.named("no-such-user", ""))

    def test_root_is_given_up_group_first(self) -> None:
        """Logs belong to the account before."""
        calls: list[Any] = []
        for name in ("initgroups", "setgid", "setuid"):
            self.patch(os, name, lambda *arguments, name=name: calls.append((name, *arguments)))

        class Logs:
            def give_logs_to(self, uid: int, gid: int) -> None:
                calls.append(("logs", uid, gid))

        account = self.named("root", "")
        become(self.config, account, Logs())  # type: ignore[arg-type]
        self.assertEqual(
            calls, [("logs", 0, 0), ("initgroups", "root", 0), ("setgid", 0), ("setuid", 0)]
        )


class LimitTests(SynchronousTestCase):
    """``RLIMIT_NOFILE`` and the garbage collector."""

    def test_soft_limit_is_raised_to_the_hard_one(self) -> None:
        """A system that refuses is no reason not to start."""
        asked: list[Any] = []

        def refuse(which: int, limits: tuple[int, int]) -> None:
            asked.append(limits)
            raise ValueError("not allowed")

        self.patch(resource, "setrlimit", refuse)
        self.patch(resource, "getrlimit", lambda which: (1024, 4096))
        raise_descriptor_limit()
        self.patch(resource, "getrlimit", lambda which: (4096, 4096))
        raise_descriptor_limit()
        self.assertEqual(asked, [(4096, 4096)])

    def test_what_is_loaded_is_set_aside(self) -> None:
        """And looked at again the next time: it may have been replaced since."""
        calls: list[str] = []
        for name in ("unfreeze", "collect", "freeze"):
            self.patch(gc, name, lambda name=name: calls.append(name))
        settle_memory()
        self.assertEqual(calls, ["unfreeze", "collect", "freeze"])
