"""One run per study at a time, also where the file system has no locks that work.

`flock` is used where it is found to lock: a second attempt by the same process must be refused.
Network file systems may not support it (ENOTSUP, ENOLCK, ENOSYS), or grant it to everyone. There
the lock is a file that exists, with the process that created it; a process that has ended is
recognised on its own machine, and elsewhere the message names the file to remove.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchsuite.errors import BenchsuiteError

_NAME, _FILE_OF_OWNER = ".lock", ".running"
#: What `flock` reports where the file system does not support it.
_UNSUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Hold the lock of a study's directory.

    Yields:
        A file descriptor; a child process that inherits it holds the lock too, where `flock` works.

    Raises:
        BenchsuiteError: if another run holds the lock.
        OSError: if the lock's file cannot be created, or is a symbolic link.
    """
    path = directory / _NAME
    descriptor = _opened(path)
    try:
        if _flock(descriptor, directory) and not _granted_again(path):
            yield descriptor
            return
        with _owned(directory):
            yield descriptor
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _flock(descriptor: int, directory: Path) -> bool:
    """Take the lock; False where `flock` is not supported."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refusal(directory, "another process") from None
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _granted_again(path: Path) -> bool:
    """Whether `flock` grants the lock a second time, so that it does not lock."""
    second = _opened(path)
    try:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(second)
    return True


@contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Hold the lock by a file that names this process."""
    path, owner = directory / _FILE_OF_OWNER, json.dumps(_this_process())
    while not _created(path, owner):
        _remove_if_ended(path, directory)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text("utf-8") == owner:
                path.unlink()


def _created(path: Path, owner: str) -> bool:
    """Create the file; False where there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(owner)
    return True


def _remove_if_ended(path: Path, directory: Path) -> None:
    """Remove the file of a process that has ended.

    Raises:
        BenchsuiteError: if it has not, or may not have.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return
    if not _has_ended(text):
        raise _refusal(directory, f"{_description(text)} (if it has ended, remove {path})")
    aside = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.rename(aside)  # only one of several processes that come here gets it
    except FileNotFoundError:
        return
    if aside.read_text("utf-8") != text:  # the file of another run that was quicker
        with suppress(OSError):
            os.link(aside, path)
    aside.unlink()


def _refusal(directory: Path, owner: str) -> BenchsuiteError:
    return BenchsuiteError(
        f"study {directory.name!r} is being run by {owner}; wait for it, or give this run another"
        " name with --name"
    )


def _this_process() -> dict[str, str | int]:
    return {"pid": os.getpid(), "began": _start_of(os.getpid()), **_place()}


def _place() -> dict[str, str]:
    """Host, boot and namespace: a process id is unique within these."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot = space = ""
    return {"host": platform.node(), "boot": boot, "namespace": space}


def _start_of(pid: int) -> str:
    """When a process began, in ticks since the boot; empty where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _has_ended(text: str) -> bool:
    """Whether the process that a file names has certainly ended."""
    try:
        owner = json.loads(text)
        here = _place()
        if owner["host"] != here["host"]:
            return False
        if owner["boot"] != here["boot"]:
            return bool(here["boot"])
        if owner["namespace"] != here["namespace"]:
            return False
        return str(owner["began"]) != _start_of(int(owner["pid"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _description(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"process {int(owner['pid'])} on {str(owner['host'])[:80]!r}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
