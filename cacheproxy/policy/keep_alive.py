"""Which browsers' connections are not kept: ``keepalive_disable``.

Old versions of Internet Explorer wait for long when a kept connection answers a POST;
Safari on macOS sends a POST on a connection that the server is just closing.

Source: nginx ``ngx_http_core_module`` (``keepalive_disable``), which tells the browsers by
the same marks in User-Agent. Imports nothing.
"""

from __future__ import annotations

__all__ = ["MSIE6", "SAFARI", "is_keep_alive_disabled"]

#: The names that the directive has for them.
MSIE6 = "msie6"
SAFARI = "safari"


def is_keep_alive_disabled(disabled: frozenset[str], method: bytes, agent: bytes | None) -> bool:
    """Whether a client that sent *agent* as User-Agent gets ``Connection: close``."""
    if agent is None:
        return False
    if method == b"POST" and MSIE6 in disabled and _is_old_msie(agent):
        return True
    return SAFARI in disabled and _is_safari_on_mac(agent)


def _is_old_msie(agent: bytes) -> bool:
    """Internet Explorer 4 to 6, apart from 6 with its security update, and not Opera."""
    at = agent.find(b"MSIE ")
    version, dot = agent[at + 5 : at + 6], agent[at + 6 : at + 7]
    # Something has to follow, as in nginx.
    if at < 0 or dot != b"." or len(agent) <= at + 7 or b"Opera" in agent:
        return False
    return version in (b"4", b"5") or (version == b"6" and b"SV1" not in agent[at + 8 :])


def _is_safari_on_mac(agent: bytes) -> bool:
    if any(mark in agent for mark in (b"Opera", b"Gecko/", b"Chrome/")):
        return False
    at = agent.find(b"MSIE ")
    if at >= 0 and len(agent) > at + 7:
        return False
    return b"Safari/" in agent and b"Mac OS X" in agent
