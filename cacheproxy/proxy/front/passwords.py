"""The phase of ``auth_basic``, alone or as the other choice beside ``allow`` and ``deny``.

A password that is not remembered is compared off the reactor thread: the phase waits.

Source: nginx ``ngx_http_auth_basic_handler``, ``ngx_http_core_access_phase``.
Imports: ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from cacheproxy.policy.passwords import PasswordVerdict, credentials
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.site.phases import Progress

__all__ = ["access_or_password", "ask_password", "deny"]


def ask_password(exchange: Exchange) -> Progress:
    """``auth_basic``: who has no password is not served."""
    return _ask(exchange, denied=False)


def access_or_password(exchange: Exchange) -> Progress:
    """``satisfy any``: whoever a rule lets in needs no password."""
    access = exchange.request.location.access
    assert access is not None
    verdict = access.verdict(exchange.request.remote_host)
    return Progress.GO_ON if verdict else _ask(exchange, denied=verdict is False)


def deny(exchange: Exchange, status: int = 403) -> Progress:
    """A rule refuses the request."""
    exchange.request.note_denied()
    exchange.answer_status(status)
    return Progress.ANSWERED


def _ask(exchange: Exchange, denied: bool) -> Progress:
    request = exchange.request
    core = request.location.core
    assert core.auth_basic is not None
    assert core.auth_basic_user_file is not None
    realm = core.auth_basic.render(request)
    if realm == b"off":
        if not denied:
            return Progress.GO_ON
        exchange.log_error("error", "access forbidden by rule")
        return deny(exchange)
    given = credentials(request.head.fields)
    if given is None:
        exchange.log_error("info", "no user/password was provided for basic authentication")
        _challenge(exchange, realm)
        return Progress.ANSWERED
    path = core.auth_basic_user_file.render(request)
    passwords = exchange.world.passwords
    if passwords.knows(path, given):
        return Progress.GO_ON
    wait = exchange.begin_wait()

    def told(verdict: PasswordVerdict) -> None:
        if verdict.status == 0:
            wait.resume()
            return
        exchange.log_error(verdict.level, verdict.message)
        if verdict.status == 401:
            _challenge(exchange, realm)
        else:
            deny(exchange, verdict.status)

    wait.cancels(passwords.check(path, given, told))
    return Progress.WAIT


def _challenge(exchange: Exchange, realm: bytes) -> None:
    """Ask for a password; also where ``error_page`` leads to a page (nginx)."""
    realm = bytes(byte for byte in realm if byte >= 32 and byte != 127)
    field = (b"WWW-Authenticate", b'Basic realm="' + realm + b'"')
    exchange.response.keep_fields([*exchange.response.kept_fields, field])
    deny(exchange, 401)
