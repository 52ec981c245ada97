"""The process itself: its account, its limit on open files, its memory.

Source: nginx ``ngx_process_cycle.c``, ``user``. Stands above every package but ``service``.
"""

from __future__ import annotations

import gc
import grp
import os
import pwd
import resource
from typing import NamedTuple

from cacheproxy.config.model import Config
from cacheproxy.errors import ConfigError
from cacheproxy.runtime import Runtime

__all__ = ["Account", "account_of", "become", "raise_descriptor_limit", "settle_memory"]


def raise_descriptor_limit() -> None:
    """Allow as many open files as the hard limit does, whatever ``worker_rlimit_nofile`` says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return


def settle_memory() -> None:
    """Collect what is left of the start or of earlier configurations, then set the rest aside.

    What was loaded stays: a full collection need not look at it each time, and stop
    requests meanwhile.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Account(NamedTuple):
    """The account that ``user`` names."""

    name: str
    uid: int
    gid: int


def account_of(config: Config) -> Account | None:
    """The account of ``user``; None without it, or without root, which alone can change it.

    Raises :class:`ConfigError` for a name that the system does not know.
    """
    if config.user is None or os.geteuid() != 0:
        return None
    name, group = config.user
    try:
        account = pwd.getpwnam(name)
    except KeyError as failure:
        raise ConfigError(f'getpwnam("{name}") failed') from failure
    try:
        gid = grp.getgrnam(group).gr_gid if group else account.pw_gid
    except KeyError as failure:
        raise ConfigError(f'getgrnam("{group}") failed') from failure
    return Account(name, account.pw_uid, gid)


def become(config: Config, account: Account, runtime: Runtime) -> None:
    """``user``: give up root for the rest of the process's life."""
    for zone in config.zones.values():
        try:
            os.makedirs(zone.path, mode=0o700, exist_ok=True)
            os.chown(zone.path, account.uid, account.gid)
        except OSError:
            continue  # the zone itself complains, and is served without its disk
    runtime.give_logs_to(account.uid, account.gid)
    os.initgroups(account.name, account.gid)
    os.setgid(account.gid)
    os.setuid(account.uid)
