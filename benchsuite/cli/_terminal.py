"""Standard streams that foreign texts cannot misuse, and that report a failed write in one line.

Texts of records, models and files may contain escape sequences, which a terminal would obey, or
rich's markup. `safe_text` removes the former; `printing` applies it to everything that is printed,
and `_console.SafeConsole` to what rich lays out, before it adds its own sequences.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from benchsuite.errors import BenchsuiteError

#: Exit code if the reader of standard output has closed it, as for a process that SIGPIPE ends.
EXIT_BROKEN_PIPE = 141

#: Sequences of ECMA-48: control strings (OSC, DCS, SOS, PM, APC) with their text, control
#: sequences (CSI), and two-character escapes.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c|(?=\n)|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
#: Controls of ASCII and Latin-1 but for tab and line feed, line and paragraph separators, and
#: characters that change the direction of the text around them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def safe_text(text: str) -> str:
    """A text without characters and sequences that control a terminal."""
    return _CONTROLS.sub("", _SEQUENCES.sub("", text))


def escaped_json(text: str) -> str:
    r"""A JSON document with the characters that control a terminal as \u escapes, its data kept."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class OutputError(BenchsuiteError):
    """Standard output or standard error cannot be written.

    Attributes:
        broken_pipe: Whether its reader has closed it, which needs no message.
    """

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"cannot write to {name}: {error.strerror}")
        self.broken_pipe = error.errno == errno.EPIPE


class _Stream:
    """A text stream whose failures are an `OutputError`; everything else is the stream's own."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            raise OutputError(self._name, error) from error
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(self._name, error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _SafeStream(_Stream):
    """A stream that takes no control characters, except from rich.

    Attributes:
        rich_proxied_file: The stream that a rich console writes to instead of this one.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream, name)
        self.rich_proxied_file = _Stream(stream, name)

    def write(self, text: str) -> int:
        return super().write(safe_text(text))


@contextmanager
def printing() -> Iterator[None]:
    """Make standard output and standard error safe inside the `with` block."""
    _open_closed_streams()
    before = sys.stdout, sys.stderr
    for stream in before:
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdout = cast("TextIO", _SafeStream(sys.stdout, "standard output"))
    sys.stderr = cast("TextIO", _SafeStream(sys.stderr, "standard error"))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_closed_streams() -> None:
    """Occupy closed standard descriptors, so that no file of the program gets their numbers.

    What is written to a closed standard error is lost; to a closed standard output is an error.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest free number, which is this one
    # A descriptor that was closed when Python started has no stream.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def discard_output() -> None:
    """Send what is still buffered for standard output nowhere; writing it has failed."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
