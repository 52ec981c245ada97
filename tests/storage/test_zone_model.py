"""A zone against a dictionary: any sequence of operations agrees with the simple model.

The executors run their work when the machine says so, so that the sequences
include every order in which disk work may end.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cacheproxy.policy.purge import ByKey
from cacheproxy.proxy.interfaces import Entry, MissWriter
from tests.storage.support import Harness, QueueExecutor, RecordingSink, digest_of, head_of

_keys = st.sampled_from([b"a", b"b"])
_variants = st.sampled_from([b"", b"1"])
# Small, beyond the memory tier's limit of one body, and beyond one batch.
_sizes = st.sampled_from([0, 10, 5000, 300_000])


class ZoneMachine(RuleBasedStateMachine):
    """Rules call the zone and the model alike."""

    def __init__(self) -> None:
        super().__init__()
        self.path = tempfile.mkdtemp()
        self.pool, self.writer = QueueExecutor(), QueueExecutor()
        self.harness = Harness(self.path, pool=self.pool, writer=self.writer, memory=32_000)
        self.model: dict[tuple[bytes, bytes], tuple[bytes, float]] = {}
        self.open: list[tuple[tuple[bytes, bytes], bytes, MissWriter]] = []
        #: Look-ups without an answer yet: every state that each may answer with.
        self.looking: list[tuple[tuple[bytes, bytes], list[float | None]]] = []
        self.serial = 0

    def changed(self) -> None:
        """Note the model's new state for every look-up under way."""
        for name, states in self.looking:
            states.append(self.model[name][1] if name in self.model else None)

    @rule(key=_keys, variant=_variants)
    def start_to_look(self, key: bytes, variant: bytes) -> None:
        """A look-up under way answers with a state that held since it was asked for."""
        name = (key, variant)
        item: tuple[tuple[bytes, bytes], list[float | None]] = (name, [])
        self.looking.append(item)
        self.changed()

        def answered(entry: Entry | None) -> None:
            self.looking.remove(item)
            assert (None if entry is None else entry.stored.lifetime) in item[1]
            if entry is not None:
                entry.release()

        self.harness.zone.lookup(digest_of(key + variant), answered)

    def teardown(self) -> None:
        self.harness.zone.close()
        shutil.rmtree(self.path)

    def settle(self) -> None:
        for _ in range(6):
            self.pool.run()
            self.writer.run()

    @rule(key=_keys, variant=_variants, size=_sizes)
    def begin(self, key: bytes, variant: bytes, size: int) -> None:
        self.serial += 1
        body = (b"%06d" % self.serial * (size // 6 + 1))[:size]
        writer = self.harness.zone.open_writer(
            digest_of(key + variant),
            digest_of(key),
            head_of(
                key,
                lifetime=float(self.serial),
                request_time=self.harness.scheduler.wall(),
            ),
        )
        assert writer is not None
        for start in range(0, size, 100_000):
            writer.write(body[start : start + 100_000])
        self.open.append(((key, variant), body, writer))
        if len(self.open) > 4:
            self.open.pop(0)[2].abort()

    @rule(at=st.integers(0, 3), whole=st.booleans())
    def end(self, at: int, whole: bool) -> None:
        if at >= len(self.open):
            return
        name, body, writer = self.open.pop(at)
        if whole:
            writer.finish()
            stored = writer.stored  # type: ignore[attr-defined]  # the zone's own writer
            self.model[name] = (body, stored.lifetime)
            self.changed()
        else:
            writer.abort()

    @rule(key=_keys, variant=_variants)
    def freshen(self, key: bytes, variant: bytes) -> None:
        if (key, variant) in self.model:
            self.serial += 1
            body, _ = self.model[key, variant]
            head = head_of(key, lifetime=float(self.serial), body_length=len(body))
            self.harness.zone.update(digest_of(key + variant), head)
            self.model[key, variant] = (body, float(self.serial))
            self.changed()

    @rule(key=_keys, variant=_variants)
    def delete(self, key: bytes, variant: bytes) -> None:
        self.model.pop((key, variant), None)
        self.changed()
        self.harness.zone.delete(digest_of(key + variant))

    @rule(key=_keys)
    def purge(self, key: bytes) -> None:
        counts: list[int] = []
        names = [name for name in self.model if name[0] == key]
        for name in names:
            del self.model[name]
        self.changed()
        self.harness.zone.purge(ByKey(digest_of(key)), counts.append)
        self.open = [item for item in self.open if item[0][0] != key]

    @rule(key=_keys, variant=_variants, early=st.booleans())
    def look(self, key: bytes, variant: bytes, early: bool) -> None:
        """The answer is that of the model now, whenever it comes."""
        expected = self.model.get((key, variant))
        found: list[Entry | None] = []
        self.harness.zone.lookup(digest_of(key + variant), found.append)
        if early:
            self.pool.step()
            self.writer.step()
        self.settle()
        assert len(found) == 1
        entry = found[0]
        if expected is None or entry is None:
            assert entry is None and expected is None, (entry, expected)
            return
        body, lifetime = expected
        sink = RecordingSink()
        entry.read(sink, 0, entry.stored.body_length)
        self.settle()
        entry.release()
        assert sink.body == body
        assert entry.stored.lifetime == lifetime

    @rule(count=st.integers(1, 3), which=st.booleans())
    def work(self, count: int, which: bool) -> None:
        for _ in range(count):
            (self.pool if which else self.writer).step()

    @rule()
    def forget(self) -> None:
        self.harness.forget_memory()

    @rule(key=_keys, variant=_variants)
    def encode(self, key: bytes, variant: bytes) -> None:
        entry = self.harness.zone.peek(digest_of(key + variant))
        if entry is not None:
            head = replace(entry.stored, reason=b"gzip")
            self.harness.zone.encoded(entry, b"gzip", 1, head, lambda sibling: None)

    @rule()
    def restart(self) -> None:
        self.settle()
        for item in self.open:
            item[2].abort()
        self.open.clear()
        self.harness.restart()

    @invariant()
    def memory_is_bounded(self) -> None:
        memory = self.harness.zone.memory
        assert memory.size <= 32_000
        assert memory.size == sum(entry.cost for entry in memory._entries.values())


ZoneMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
ZoneModelTests = ZoneMachine.TestCase
