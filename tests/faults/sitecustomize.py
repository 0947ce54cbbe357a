"""Faults of a file system, in every process that has this directory on its path.

`FAULT_FLOCK` is an error's name, or `granted` for a lock that locks nothing; `FAULT_FSYNC` an
error's name, which fsync reports where the file `FAULT_FROM` exists.
"""

import errno
import fcntl
import os
import pathlib


def _failing(number):
    raise OSError(number, os.strerror(number))


if lock := os.environ.get("FAULT_FLOCK"):
    number = getattr(errno, lock, 0)
    fcntl.flock = lambda *_: _failing(number) if number else None

if sync := os.environ.get("FAULT_FSYNC"):
    _fsync = os.fsync

    def fsync(descriptor):
        if pathlib.Path(os.environ["FAULT_FROM"]).exists():
            _failing(getattr(errno, sync))
        _fsync(descriptor)

    os.fsync = fsync
