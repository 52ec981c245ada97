"""What a location with ``uwsgi_pass`` has that no ``proxy_*`` option says.

nginx: ``ngx_http_uwsgi_merge_loc_conf``, ``ngx_http_uwsgi_init_params``.
Imports: ``table``, ``policy.options``.
"""

from __future__ import annotations

from typing import Any

from cacheproxy.config.table import Build, Level
from cacheproxy.policy.options import UpstreamParam

__all__ = ["uwsgi_options"]

#: What HTTP_HOST is unless ``uwsgi_param`` says so: the host that was chosen by, so that an
#: absolute-form target and a Host field beside it cannot say two different things.
DEFAULT_HOST = "$host$is_request_port$request_port"

#: Fields that nginx hides of what ``proxy_pass`` brings, and passes on of uwsgi's.
_PASSED = frozenset({b"date", b"server"})


def uwsgi_options(build: Build, level: Level) -> dict[str, Any]:
    """Attributes of ``ProxyOptions`` for *level*, of the uwsgi family."""
    params: list[UpstreamParam] = list(level.get("proxy.params", ()))
    if not any(param.name.lower() == b"http_host" for param in params):
        params.append(UpstreamParam(b"HTTP_HOST", build.template(DEFAULT_HOST), True))
    hidden = frozenset(level.get("proxy.hide_header", ()))
    passed = frozenset(level.get("proxy.pass_header", ()))
    return {
        "protocol": level.family,
        "params": tuple(params),
        "set_header": tuple(
            (param.name[5:].replace(b"_", b"-"), param.value)
            for param in params
            if param.name.startswith(b"HTTP_")
        ),
        "pass_header": passed | (_PASSED - hidden),
        "redirect": (),
    }
