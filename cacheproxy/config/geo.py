"""Variables that depend on the client's address: nginx's ``geo`` block.

``include`` has been expanded by ``source`` before a block comes here; nginx's binary
bases (``file.bin``) are neither read nor written. Tables: ``policy.geo``.

Imports: ``errors``, ``template``, ``policy.geo``, ``policy.networks``, ``source``, ``variables``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cacheproxy.config.source import Directive
from cacheproxy.config.variables import CaptureContext
from cacheproxy.errors import ConfigError
from cacheproxy.policy.geo import Networks, Overlap, Ranges, forwarded_address
from cacheproxy.policy.networks import Address, Network, parse_address, parse_network
from cacheproxy.template import Getter

__all__ = ["Geo", "declared_geos", "network"]

#: Lines of one word that say how the block is read.
_FLAGS = ("ranges", "proxy_recursive", "volatile")

_EVERYTHING = (Network(4, 0, 32), Network(6, 0, 128))


def declared_geos(directives: Iterable[Directive]) -> dict[str, Directive]:
    """Each ``geo`` block's variable, lower-case, with the block."""
    found: dict[str, Directive] = {}
    for directive in directives:
        if directive.name == "geo" and 1 <= len(directive.args) <= 2:
            found[directive.args[-1].removeprefix("$").lower()] = directive
        elif directive.block:
            found.update(declared_geos(directive.block))
    return found


def network(text: str, what: str, warn: Callable[[str], None]) -> Network:
    """``address[/bits]`` of a directive; *what* says in a message what it should have been."""
    try:
        found, loose = parse_network(text)
    except ValueError as error:
        raise ConfigError(f'invalid {what} "{text}"') from error
    if loose:
        warn(f"low address bits of {text} are meaningless")
    return found


class Geo:
    """One ``geo``: the value of its variable for the address of a request."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.volatile = False
        self.recursive = False
        self.proxies: list[Network] = []
        self.table: Networks | Ranges = Networks()
        self._address: Getter = lambda _: b""
        self._forwarded: Getter = lambda _: b""
        self.filled = False
        self._started = False

    def get(self, context: CaptureContext) -> bytes:
        """The value for this request; kept for the rest of it unless ``volatile``."""
        values = context.map_values
        value = values.get(self.name)
        if value is None:
            value = self.table.find(self._find(context))
            if not self.volatile:
                values[self.name] = value
        return value

    def _find(self, context: CaptureContext) -> Address | None:
        address = parse_address(self._address(context).decode("latin-1"))
        if self.proxies and address is not None:
            forwarded = self._forwarded(context).decode("latin-1")
            address = forwarded_address(address, forwarded, self.proxies, self.recursive)
        return address

    def fill(
        self,
        address: Getter,
        forwarded: Getter,
        block: Iterable[Directive],
        warn: Callable[[str, Directive], None],
    ) -> list[tuple[ConfigError, Directive]]:
        """Take the content of the block; returns its faults and where they stand.

        *address* and *forwarded* read the address and X-Forwarded-For off a request.
        """
        self.filled = True
        self._address, self._forwarded = address, forwarded
        faults: list[tuple[ConfigError, Directive]] = []
        for line in block:
            try:
                self._add(line, lambda message, line=line: warn(message, line))  # type: ignore[misc]
            except ConfigError as error:
                faults.append((error, line))
        return faults

    def _add(self, line: Directive, warn: Callable[[str], None]) -> None:
        if line.block is None and not line.args and line.name in _FLAGS:
            self._flag(line.name)
        elif line.block is not None or len(line.args) != 1:
            raise ConfigError("invalid number of the geo parameters")
        elif line.name == "proxy":
            self.proxies.append(network(line.args[0], "network", warn))
        elif isinstance(self.table, Ranges):
            _add_range(self.table, line.name, line.args[0], warn)
        else:
            self._started = True
            _add_network(self.table, line.name, line.args[0], warn)

    def _flag(self, name: str) -> None:
        if name == "volatile":
            self.volatile = True
        elif name == "proxy_recursive":
            self.recursive = True
        elif self._started:
            raise ConfigError(
                'the "ranges" directive must be the first directive inside "geo" block'
            )
        elif not isinstance(self.table, Ranges):
            self.table = Ranges()


def _value(text: str) -> bytes:
    # as it is: nginx knows no variables here
    return text.encode("utf-8", "surrogateescape")


def _add_network(table: Networks, name: str, text: str, warn: Callable[[str], None]) -> None:
    if name == "delete":
        if not table.delete(network(text, "network", warn)):
            warn(f'no network "{text}" to delete')
        return
    networks = _EVERYTHING if name == "default" else (network(name, "network", warn),)
    old = None
    for one in networks:
        old = table.add(one, _value(text))
    if old is not None:
        _warn_duplicate(f'network "{name}"', text, old, warn)


def _add_range(table: Ranges, name: str, text: str, warn: Callable[[str], None]) -> None:
    if name == "default":
        if table.default:
            _warn_duplicate("default geo range", text, table.default, warn)
        table.default = _value(text)
    elif name == "delete":
        if not table.delete(*_range(text)):
            warn(f'no address range "{text}" to delete')
    else:
        try:
            old = table.add(*_range(name), _value(text))
        except Overlap as overlap:
            ends = f"{_dotted(overlap.low)}-{_dotted(overlap.high)}"
            raise ConfigError(f'range "{name}" overlaps "{ends}"') from overlap
        if old is not None:
            _warn_duplicate(f'range "{name}"', text, old, warn)


def _warn_duplicate(what: str, new: str, old: bytes, warn: Callable[[str], None]) -> None:
    former = old.decode("utf-8", "replace")
    warn(f'duplicate {what}, value: "{new}", old value: "{former}"')


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    first, last = parse_address(low), parse_address(high)
    if first is None or last is None or not first.version == last.version == 4:
        raise ConfigError(f'invalid range "{text}"')
    if first.value > last.value:
        raise ConfigError(f'invalid range "{text}"')
    return first.value, last.value


def _dotted(value: int) -> str:
    return ".".join(str(octet) for octet in value.to_bytes(4, "big"))
