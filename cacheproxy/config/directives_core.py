"""Rows of the HTTP core: files, answers, time-outs, limits of a request.

nginx's ``ngx_http_core_module``, ``ngx_http_headers_filter_module``,
``ngx_http_charset_filter_module``, ``ngx_http_index_module``,
``ngx_http_try_files_module`` and ``return`` of ``ngx_http_rewrite_module``.
"""

from __future__ import annotations

from cacheproxy.config import units
from cacheproxy.config.converters import (
    count_and_size,
    field,
    sizes_of_tables,
    temp_path,
    types_option,
)
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    FLAG,
    HS,
    HSL,
    HSL_IF,
    MANY,
    NUMBER,
    OFFSET,
    SIZE,
    TIME,
    Build,
    Context,
    Level,
    Merge,
    Row,
    accepted,
    checked,
    invalid,
    listed,
    one_of,
    only,
    value,
)
from cacheproxy.errors import ConfigError
from cacheproxy.policy.keep_alive import MSIE6, SAFARI
from cacheproxy.policy.options import AddHeader, ErrorPage, Expires, TryFiles
from cacheproxy.template import Template, constant_template

__all__ = ["ROWS"]

_SL = Context.SERVER | Context.LOCATION

#: Fields that a recipient goes by before the content, so that no trailer may have their
#: name (RFC 9110 §6.5.1); nginx sends them.
_NOT_TRAILERS = frozenset({b"content-length", b"host", b"te", b"trailer", b"transfer-encoding"})


def _root(build: Build, level: Level, directive: Directive) -> None:
    name = directive.name
    for other in ("root", "alias"):
        if f"core.{other}" in level.values:
            if other == name:
                raise ConfigError(f'"{name}" directive is duplicate')
            raise ConfigError(f'"{name}" directive is duplicate, "{other}" directive was specified')
    text = directive.args[0]
    if name == "root":
        text = text[:-1] if text.endswith("/") else text
    elif level.facts.get("named"):
        raise ConfigError('the "alias" directive cannot be used inside the named location')
    level.put(f"core.{name}", build.path_template(text), directive)


def _index(build: Build, directive: Directive) -> object:
    for position, text in enumerate(directive.args):
        if not text:
            raise ConfigError('index "" in "index" directive is invalid')
        if text.startswith("/") and position != len(directive.args) - 1:
            build.warn('only the last index in "index" directive should be absolute', directive)
    return [build.template(text) for text in directive.args]


def _try_files(build: Build, directive: Directive) -> TryFiles:
    *files, last = directive.args
    compiled = tuple(
        (build.template(text[:-1] if text.endswith("/") else text), text.endswith("/"))
        for text in files
    )
    if last.startswith("="):
        if not last[1:].isdigit() or int(last[1:]) > 999:
            raise ConfigError(f'invalid code "{last}"')
        return TryFiles(compiled, status=int(last[1:]))
    return TryFiles(compiled, uri=build.template(last))


def _error_page(build: Build, directive: Directive) -> ErrorPage:
    *words, uri = directive.args
    response = None
    if words[-1].startswith("="):
        answer = words.pop()[1:]
        if answer and not answer.isdigit():
            raise invalid(directive, f"={answer}")
        response = int(answer or 0)
    if not words:
        raise ConfigError('invalid number of arguments in "error_page" directive')
    for word in words:
        if not word.isdigit() or word == "499":
            raise invalid(directive, word)
        if not 300 <= int(word) <= 599:
            raise ConfigError(f'value "{word}" must be between 300 and 599')
    return ErrorPage(frozenset(map(int, words)), build.template(uri), response)


def _types(build: Build, level: Level, directive: Directive) -> None:
    types: dict[str, bytes] = level.values.setdefault("core.types", {})
    level.places.setdefault("core.types", directive)
    for line in directive.block or ():
        if line.block is not None or not line.args:
            build.fault('invalid number of arguments in "types" directive', line)
            continue
        for extension in line.args:
            types[extension.lower()] = line.name.encode()


def _add_header(build: Build, directive: Directive) -> AddHeader:
    rest = directive.args[2:]
    if rest and rest[0] != "always":
        raise ConfigError(f'invalid parameter "{rest[0]}"')
    return AddHeader(*field(build, directive), bool(rest))


def _add_trailer(build: Build, directive: Directive) -> AddHeader:
    trailer = _add_header(build, directive)
    if trailer.name.lower() in _NOT_TRAILERS:
        raise invalid(directive, directive.args[0])
    return trailer


def _expires(build: Build, directive: Directive) -> Expires | None:
    modified = directive.args[0] == "modified"
    words = directive.args[1:] if modified else directive.args
    if len(words) != 1:
        raise ConfigError('invalid number of arguments in "expires" directive')
    word = words[0]
    if "$" in word:
        if modified:
            raise invalid(directive, word)
        return Expires(template=build.template(word))
    if not modified:
        if word == "off":
            return None
        if word in ("epoch", "max"):
            return Expires(word)
    try:
        if word.startswith("@") and not modified:
            seconds = units.whole_seconds(word[1:])
            if seconds > 86400:
                raise ConfigError("daily time value must be less than 24 hours")
            return Expires("daily", seconds)
        sign = -1 if word.startswith("-") else 1
        seconds = sign * units.whole_seconds(word[1:] if word[:1] in "+-" else word)
    except ValueError as error:
        raise ConfigError('"expires" directive invalid value') from error
    return Expires("modified" if modified else "delta", seconds)


def _keepalive_disable(build: Build, directive: Directive) -> frozenset[str]:
    for word in directive.args:
        if word not in ("none", MSIE6, SAFARI):
            raise invalid(directive, word)
    return frozenset(directive.args)


def _keepalive_timeout(build: Build, level: Level, directive: Directive) -> None:
    try:
        timeout = units.seconds(directive.args[0])
        header = units.whole_seconds(directive.args[1]) if len(directive.args) == 2 else None
    except ValueError as error:
        raise ConfigError('"keepalive_timeout" directive invalid value') from error
    level.put("core.keepalive_timeout", timeout, directive)
    level.put("core.keepalive_timeout_header", header, directive)


def _server_tokens(build: Build, directive: Directive) -> bool:
    return bool(one_of("on", "off", "build")(build, directive) != "off")


def _charset(build: Build, directive: Directive) -> Template | None:
    word = directive.args[0]
    if word == "off":
        return None
    # As in nginx a variable stands alone, and first.
    return build.template(word) if word.startswith("$") else constant_template(word.encode())


def _default_type(build: Build, directive: Directive) -> bytes:
    return directive.args[0].encode()


def _internal(build: Build, directive: Directive) -> bool:
    return True


ROWS: list[Row] = [
    Row("root", HSL_IF, (1, 1), _root, "core.root"),
    Row("alias", Context.LOCATION, (1, 1), _root, "core.alias"),
    listed("index", HSL, (1, MANY), _index, "core.index"),
    value("try_files", _SL, (2, MANY), _try_files, "core.try_files", merge=Merge.LOCAL),
    listed("error_page", HSL_IF, (2, MANY), _error_page, "core.error_page"),
    value("recursive_error_pages", HSL, 1, FLAG, "core.recursive_error_pages"),
    value("internal", Context.LOCATION, 0, _internal, "core.internal", merge=Merge.LOCAL),
    Row("types", HSL, (0, 0), _types, "core.types", Merge.LIST, block=True),
    value("default_type", HSL, 1, _default_type, "core.default_type"),
    value(
        "charset",
        HSL_IF,
        1,
        _charset,
        "core.charset",
        note="Names the charset, converts nothing.",
    ),
    value("charset_types", HSL, (1, MANY), types_option(b"text/html"), "core.charset_types"),
    listed("add_header", HSL_IF, (2, 3), _add_header, "core.add_header"),
    listed(
        "add_trailer",
        HSL_IF,
        (2, 3),
        _add_trailer,
        "core.add_trailer",
        note="Not for HTTP/1.0, nor with chunked_transfer_encoding off.",
    ),
    value("expires", HSL_IF, (1, 2), _expires, "core.expires"),
    value("etag", HSL, 1, FLAG, "core.etag"),
    value(
        "if_modified_since",
        HSL,
        1,
        one_of("off", "exact", "before"),
        "core.if_modified_since",
    ),
    value("max_ranges", HSL, 1, NUMBER, "core.max_ranges"),
    value("server_tokens", HSL, 1, _server_tokens, "core.server_tokens"),
    value("client_max_body_size", HSL, 1, OFFSET, "core.client_max_body_size"),
    value("client_body_buffer_size", HSL, 1, SIZE, "core.client_body_buffer_size"),
    temp_path("client_body_temp_path", "core.client_body_temp_path"),
    value("client_body_timeout", HSL, 1, TIME, "core.client_body_timeout"),
    value("send_timeout", HSL, 1, TIME, "core.send_timeout"),
    Row("keepalive_timeout", HSL, (1, 2), _keepalive_timeout, "core.keepalive_timeout"),
    value("keepalive_requests", HSL, 1, NUMBER, "core.keepalive_requests"),
    value("keepalive_time", HSL, 1, TIME, "core.keepalive_time"),
    value("keepalive_disable", HSL, (1, 2), _keepalive_disable, "core.keepalive_disable"),
    value(
        "lingering_close", HSL, 1, one_of("off", "on", "always"), "core.lingering_close"
    ),
    value("lingering_time", HSL, 1, TIME, "core.lingering_time"),
    value("lingering_timeout", HSL, 1, TIME, "core.lingering_timeout"),
    checked(
        "client_body_in_single_buffer",
        HSL,
        FLAG,
        "A body in memory is in one buffer whenever it is sent.",
    ),
    checked(
        "reset_timedout_connection",
        HSL,
        FLAG,
        "A connection that times out within a request is always reset.",
    ),
    value("chunked_transfer_encoding", HSL, 1, FLAG, "core.chunked_transfer_encoding"),
    value("absolute_redirect", HSL, 1, FLAG, "core.absolute_redirect"),
    value("server_name_in_redirect", HSL, 1, FLAG, "core.server_name_in_redirect"),
    value("port_in_redirect", HSL, 1, FLAG, "core.port_in_redirect"),
    value("log_not_found", HSL, 1, FLAG, "core.log_not_found"),
    value("client_header_timeout", HS, 1, TIME, "server.client_header_timeout"),
    value("client_header_buffer_size", HS, 1, SIZE, "server.client_header_buffer_size"),
    value(
        "large_client_header_buffers", HS, 2, count_and_size, "server.large_client_header_buffers"
    ),
    value("max_headers", HS, 1, NUMBER, "server.max_headers"),
    value("underscores_in_headers", HS, 1, FLAG, "server.underscores_in_headers"),
    value("ignore_invalid_headers", HS, 1, FLAG, "server.ignore_invalid_headers"),
    value("merge_slashes", HS, 1, FLAG, "server.merge_slashes"),
    *accepted("sendfile tcp_nopush tcp_nodelay", HSL_IF, "The event loop's transports decide."),
    *accepted("aio aio_write directio", HSL, "Files are read off the reactor.", (1, 2)),
    *accepted("directio_alignment", HSL, "Files are read off the reactor."),
    *accepted(
        "sendfile_max_chunk read_ahead output_buffers postpone_output send_lowat",
        HSL,
        "How much is written at once follows the client's pace.",
        (1, 2),
    ),
    *accepted(
        "open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors",
        HSL,
        "Open files are kept by rules of our own.",
        (1, 2),
    ),
    *sizes_of_tables("types_hash_max_size types_hash_bucket_size", HSL),
    *sizes_of_tables(
        "variables_hash_max_size variables_hash_bucket_size map_hash_max_size "
        "map_hash_bucket_size server_names_hash_bucket_size server_names_hash_max_size",
        Context.HTTP,
    ),
    *accepted("connection_pool_size request_pool_size", HS, "Memory is Python's to pool."),
    *only("autoindex random_index", HSL, "off", "Folders are never listed."),
    *only("gzip_static", HSL, "off", "Files compressed beforehand are not looked for."),
    *only("limit_rate", HSL_IF, "0", "Rates are not limited."),
    *only("disable_symlinks", HSL, "off", "Symbolic links are followed."),
]
