"""Files that somebody else may have written: regular ones only, and only up to a size."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from pathlib import Path

from benchsuite.errors import UsageError

_GZIP = b"\x1f\x8b"
#: Bytes that are decompressed at a time.
_CHUNK = 16 << 20


def read_bytes(path: Path, kind: str, limit: int) -> bytes:
    """The content of a regular file, decompressed if it is gzip.

    A file that would not fit into `limit` is refused before it is read, and a compressed one as
    soon as its content exceeds it. A pipe or a device is refused, as reading one may never end.

    Args:
        path: The file.
        kind: What the file is, for messages: "trace", "study file".
        limit: Most bytes of the content.

    Raises:
        UsageError: if it cannot be read, is cut off, or is too large.
    """
    try:
        # Opening a pipe without a writer would wait for one.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"cannot read the {kind} {path}: it is not a regular file")
            if status.st_size > limit:
                raise _too_large(path, kind, limit)
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that contains a NUL byte
        if isinstance(error, UsageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the {kind} {path}: {reason}") from error
    return _decompressed(data, path, kind, limit) if data.startswith(_GZIP) else data


def _decompressed(data: bytes, path: Path, kind: str, limit: int) -> bytes:
    parts, size = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _too_large(path, kind, limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} is cut off or damaged: {error}; record it again") from error
    return b"".join(parts)


def _too_large(path: Path, kind: str, limit: int) -> UsageError:
    return UsageError(f"the {kind} {path} is too large; at most {limit / 2**20:,.0f} MiB are read")
