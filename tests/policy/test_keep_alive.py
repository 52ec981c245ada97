"""``keepalive_disable``: browsers told by User-Agent as nginx tells them."""

from __future__ import annotations

from cacheproxy.policy.keep_alive import MSIE6, SAFARI, is_keep_alive_disabled

OLD = b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"
UPDATED = b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)"
SAFARI_AGENT = (
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    b"Version/17.0 Safari/605.1.15"
)
CHROME = SAFARI_AGENT.replace(b"Version/17.0", b"Chrome/120.0.0.0")


def test_old_explorer_loses_its_connection_after_a_post_only() -> None:
    """Versions 4 to 6, and 6 without SV1."""
    only = frozenset({MSIE6})
    for version, disabled in ((b"4", True), (b"5", True), (b"6", True), (b"7", False)):
        agent = OLD.replace(b"MSIE 6", b"MSIE " + version)
        assert is_keep_alive_disabled(only, b"POST", agent) is disabled
        assert not is_keep_alive_disabled(only, b"GET", agent)
    for agent in (UPDATED, OLD + b" Opera 8", b"MSIE 6.", b"MSIE 6", b"MSIE 60 x", b"", None):
        assert not is_keep_alive_disabled(only, b"POST", agent), agent
    assert not is_keep_alive_disabled(frozenset({SAFARI}), b"POST", OLD)


def test_safari_on_a_mac_loses_its_connection_after_any_request() -> None:
    """Not what only looks like it."""
    only = frozenset({SAFARI})
    for method in (b"GET", b"POST"):
        assert is_keep_alive_disabled(only, method, SAFARI_AGENT)
        for agent in (
            CHROME,
            SAFARI_AGENT.replace(b"Mac OS X", b"Linux"),
            SAFARI_AGENT.replace(b"like Gecko", b"Gecko/2"),
            SAFARI_AGENT + b" Opera",
            None,
        ):
            assert not is_keep_alive_disabled(only, method, agent), agent


def test_none_keeps_all() -> None:
    """``keepalive_disable none``."""
    for names in (frozenset(), frozenset({"none"})):
        for agent in (OLD, SAFARI_AGENT):
            assert not is_keep_alive_disabled(names, b"POST", agent)
