"""A shared cache as simple as can be, to compare the whole proxy with (RFC 9111).

One URL whose variants one request field selects; an origin that counts versions. It is
written from the RFC, with tables in place of parsers, and shares no code with the proxy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CACHE_CONTROL", "CDN_CACHE_CONTROL", "Origin", "Reference", "Saying", "Says"]


@dataclass(frozen=True)
class Says:
    """What a field means to a shared cache; *lifetime* None: not to be stored.

    *cookie*: all but the cookie of a response that sets one may be shared.
    """

    lifetime: float | None
    stale: bool = True
    always: bool = False
    while_revalidate: float = 0.0
    cookie: bool = False


CACHE_CONTROL: dict[bytes, Says] = {
    b"max-age=10": Says(10),
    b"max-age=10, s-maxage=30": Says(30, stale=False, cookie=True),
    b"public, max-age=10": Says(10, cookie=True),
    b"max-age=20, max-age=5": Says(5),
    b'max-age="10"': Says(10),
    b"max-age=-1": Says(0),
    b"max-age=10, must-revalidate": Says(10, stale=False),
    b"max-age=10, proxy-revalidate": Says(10, stale=False),
    b"no-cache": Says(0, always=True),
    b"max-age=10, no-cache": Says(10, always=True),
    b"max-age=4, stale-while-revalidate=8": Says(4, while_revalidate=8),
    b"max-age=10, no-store": Says(None),
    b"private, max-age=10": Says(None),
    b'max-age=10, foo="no-store, private"': Says(10),
}
CDN_CACHE_CONTROL: dict[bytes, Says] = {
    b"max-age=15": Says(15),
    b"no-store": Says(None),
    b"max-age=6, must-revalidate": Says(6, stale=False),
}

#: The fields of an answer: those that are stored, and those for this answer alone.
Saying = tuple[dict[bytes, bytes], dict[bytes, bytes]]


def understand(kept: dict[bytes, bytes], passing: dict[bytes, bytes]) -> Says:
    """What a response with these fields means."""
    if b"CDN-Cache-Control" in kept:
        says = CDN_CACHE_CONTROL[kept[b"CDN-Cache-Control"]]
    elif b"Cache-Control" in kept:
        says = CACHE_CONTROL[kept[b"Cache-Control"]]
    else:
        says = Says(None)  # no heuristic
    return Says(None) if b"Set-Cookie" in passing and not says.cookie else says


@dataclass
class Origin:
    """What it would answer now. *version* is its entity-tag and in its content."""

    version: int = 1
    mode: str = "up"
    saying: Saying = ({}, {})


@dataclass
class Stored:
    """One variant."""

    version: int
    fields: dict[bytes, bytes]
    says: Says
    #: When its age was or would have been 0, and until when it is fresh, or usable at once.
    born: float
    fresh: float
    grace: float


@dataclass
class Reference:
    """Answers are (what X-Cache says, version, age or None); version 0 is an error."""

    origin: Origin
    stored: dict[bytes, Stored] = field(default_factory=dict)
    #: Under which variant the others are found.
    first: bytes | None = None

    def found(self, variant: bytes) -> Stored | None:
        """What is stored for a request."""
        return self.stored.get(variant) if self.first is not None else None

    def clear(self) -> None:
        """Everything is purged."""
        self.stored.clear()
        self.first = None

    def soften(self, now: float) -> None:
        """Everything is purged softly."""
        for kept in self.stored.values():
            if kept.fresh > now:
                kept.grace = max(now + kept.grace - kept.fresh, kept.fresh)
                kept.fresh = now

    def peek(self, variant: bytes, now: float, wants: bytes) -> str:
        """How a request that *wants* (its Cache-Control) is answered: without the origin?"""
        kept = self.found(variant)
        if kept is None:
            return "miss"
        if kept.says.always or wants == b"no-cache":
            return "validate"
        if wants == b"max-age=3" and now - kept.born > 3:
            return "validate"
        if now < kept.fresh:
            return "hit"
        if not kept.says.stale or wants == b"max-age=3":
            return "validate"
        if wants == b"max-stale=20":
            return "stale" if now - kept.fresh <= 20 else "validate"
        return "refresh" if now < kept.grace else "validate"

    def get(
        self, variant: bytes, now: float, wants: bytes = b"", later: float | None = None
    ) -> tuple[bytes, int, float | None]:
        """A GET at *now*, which the origin, if it is asked, answers at *later*."""
        how = self.peek(variant, now, wants)
        kept = self.found(variant)
        if wants == b"only-if-cached" and how in ("miss", "validate"):
            return b"", 0, None
        if kept is not None and how == "hit":
            return b"HIT", kept.version, now - kept.born
        if kept is not None and how in ("stale", "refresh"):
            answer = b"STALE", kept.version, now - kept.born
            if how == "refresh":
                self.ask(variant, kept, now, now)
            return answer
        return self.ask(variant, kept, now, now if later is None else later)

    def ask(
        self,
        variant: bytes,
        kept: Stored | None,
        now: float,
        later: float,
        storing: bool = True,
    ) -> tuple[bytes, int, float | None]:
        """Ask the origin at *now*; it answers at *later*. Not *storing*: purged in between."""
        origin = self.origin
        state = b"MISS" if kept is None else b"EXPIRED"
        if origin.mode == "refuse":
            if kept is not None and kept.says.stale and not kept.says.always:
                return b"STALE", kept.version, later - kept.born
            return state, 0, None
        if origin.mode == "fail":
            return state, 0, None
        fields, passing = origin.saying
        confirmed = kept is not None and kept.version == origin.version
        if kept is not None and confirmed:
            fields = {**kept.fields, **fields}
        says = understand(fields, passing)
        age = float(passing.get(b"Age", b"0")) + later - now
        if says.lifetime is not None:
            fresh = later - age + says.lifetime
            grace = fresh + says.while_revalidate
            if storing:
                self.keep(variant, Stored(origin.version, fields, says, later - age, fresh, grace))
        elif storing and kept is not None:
            # One client's cookie, or an answer that says nothing, is about that answer alone.
            forbidden = bool(fields) and b"Set-Cookie" not in passing
            if confirmed or forbidden:
                self.drop(variant)
        return (b"REVALIDATED" if confirmed else state), origin.version, None

    def keep(self, variant: bytes, new: Stored) -> None:
        """Store a variant."""
        if self.first is None:
            self.first = variant
        self.stored[variant] = new

    def drop(self, variant: bytes) -> None:
        """Remove a variant; with the first one goes what the others are found by."""
        if variant == self.first:
            self.clear()
        else:
            self.stored.pop(variant, None)
