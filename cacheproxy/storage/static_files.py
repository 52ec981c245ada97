"""Static files: regular files only, opened without following anything but links.

nginx follows symbolic links unless told otherwise, and so do we. Whatever is not
a regular file or a directory (FIFO, device, socket) is refused, and opening one
can neither block nor have an effect (``O_NONBLOCK``, type checked after opening).

Small files are kept in memory. Each request costs one ``stat``: a file whose
identity, size or times differ from what was kept is read again, so that a change
is seen at once. The content is read from the descriptor whose ``fstat`` is kept
with it, and a file that changes while it is read is not kept.

Source: ``ngx_http_static_module``; the statuses are its own. Runs in the reactor
thread, except that large files are read by the disk threads.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import OrderedDict

from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.bodies.readers import FileHandle, FileReader, MemoryReader, read_bytes
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["CACHE_SIZE", "SMALL_FILE", "Files", "LargeFile", "SmallFile"]

#: The largest file whose content is kept in memory.
SMALL_FILE = 256 * 1024
#: Bytes of content kept, with what each file costs besides.
CACHE_SIZE = 32 << 20
FILE_OVERHEAD = 1024

#: Seconds after its last change from which a file is kept: file systems stamp times
#: with a coarse clock, so that two changes in one tick leave the same identity.
SETTLED = 0.1

_NOT_FOUND = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
#: ELOOP: nginx answers 404 only where it forbids links; a loop of links is its 500.
_FORBIDDEN = {errno.EACCES, errno.EPERM}


class SmallFile:
    """A file whose content is in memory; shared by its requests."""

    __slots__ = ("content", "cost", "hot", "identity", "mtime", "size", "used")

    def __init__(self, content: bytes, status: os.stat_result) -> None:
        self.content = content
        self.size = len(content)
        self.mtime = status.st_mtime
        self.hot: object | None = None
        self.identity = _identity(status)
        self.used = False
        self.cost = len(content) + FILE_OVERHEAD

    def read(self, sink: BodySink, start: int, stop: int) -> MemoryReader:
        """Deliver bytes [start, stop) and the end before returning."""
        return read_bytes(self.content, sink, start, stop)

    def close(self) -> None:
        """Memory is freed with the last reference."""


class LargeFile:
    """An open file, read by the disk threads."""

    __slots__ = ("_call_from_thread", "_executor", "_handle", "hot", "mtime", "size")

    #: Never in memory.
    content: bytes | None = None

    def __init__(
        self,
        descriptor: int,
        status: os.stat_result,
        executor: Executor,
        call_from_thread: CallFromThread,
    ) -> None:
        self.size = status.st_size
        self.mtime = status.st_mtime
        self.hot: object | None = None
        self._handle: FileHandle | None = FileHandle(descriptor)
        self._executor = executor
        self._call_from_thread = call_from_thread

    def read(self, sink: BodySink, start: int, stop: int) -> FileReader:
        """Deliver bytes [start, stop) as they are read."""
        handle = self._handle
        if handle is None:
            raise ValueError("file is closed")
        return FileReader(handle, (start, stop), sink, self._executor, self._call_from_thread)

    def close(self) -> None:
        """Close the file; readers that are under way keep it open until they end."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.drop()


class Files:
    """A ``FileSystem``; *executor* reads large files. *cache_size* bounds the memory."""

    def __init__(
        self,
        *,
        executor: Executor,
        call_from_thread: CallFromThread,
        small_file: int = SMALL_FILE,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        self._executor = executor
        self._call_from_thread = call_from_thread
        self._small_file = small_file
        self._limit = cache_size
        self._size = 0
        self._cache: OrderedDict[bytes, SmallFile] = OrderedDict()

    def open(self, path: bytes) -> SmallFile | LargeFile | int:
        """The file, or the status to answer with; see ``FileSystem.open``."""
        try:
            status = os.stat(path)
        except OSError as error:
            self._forget(path)
            return _status_of(error)
        except ValueError:
            # A NUL in the path: no such file can exist.
            return 404
        cached = self._cache.get(path)
        if cached is not None:
            # Compared in place: building the tuple of an identity is half the cost.
            one = cached.identity
            if (
                one[0] == status.st_mtime_ns
                and one[1] == status.st_ctime_ns
                and one[2] == status.st_ino
                and one[3] == status.st_size
                and one[4] == status.st_dev
            ):
                cached.used = True
                return cached
            self._forget(path)
        if stat.S_ISDIR(status.st_mode):
            return 301
        if not stat.S_ISREG(status.st_mode):
            return 404
        return self._open(path)

    def is_file(self, path: bytes) -> bool:
        """Whether *path* is a regular file."""
        try:
            return stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError):
            return False

    def is_directory(self, path: bytes) -> bool:
        """Whether *path* is a directory."""
        try:
            return stat.S_ISDIR(os.stat(path).st_mode)
        except (OSError, ValueError):
            return False

    def exists(self, path: bytes) -> bool:
        """Whether *path* is a file of any kind, or a directory."""
        try:
            os.stat(path)
        except (OSError, ValueError):
            return False
        return True

    def is_executable(self, path: bytes) -> bool:
        """Whether *path* exists and its owner may execute it."""
        try:
            return bool(os.stat(path).st_mode & stat.S_IXUSR)
        except (OSError, ValueError):
            return False

    def _open(self, path: bytes) -> SmallFile | LargeFile | int:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            return _status_of(error)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                return 404
            if status.st_size > self._small_file:
                return LargeFile(descriptor, status, self._executor, self._call_from_thread)
            content = os.pread(descriptor, status.st_size + 1, 0)
            after = os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            return 500
        os.close(descriptor)
        # What was appended meanwhile, or a file of /proc, has more than its size says.
        file = SmallFile(content[: status.st_size], status)
        settled = time.time() - max(status.st_mtime, status.st_ctime) > SETTLED
        if settled and len(content) == status.st_size and _identity(after) == file.identity:
            self._keep(path, file)
        return file

    def _keep(self, path: bytes, file: SmallFile) -> None:
        self._cache[path] = file
        self._size += file.cost
        while self._size > self._limit:
            oldest_path, oldest = self._cache.popitem(last=False)
            if oldest.used:
                # A second chance, once.
                oldest.used = False
                self._cache[oldest_path] = oldest
            else:
                self._size -= oldest.cost

    def _forget(self, path: bytes) -> None:
        file = self._cache.pop(path, None)
        if file is not None:
            self._size -= file.cost


def _identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_size,
        status.st_dev,
    )


def _status_of(error: OSError) -> int:
    """nginx's answer to a file that cannot be opened (``ngx_http_static_handler``)."""
    if error.errno in _NOT_FOUND:
        return 404
    if error.errno in _FORBIDDEN:
        return 403
    return 500
