"""Errors that are meant to be read: the bad value, the allowed ones, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class BenchsuiteError(Exception):
    """Something the user can fix; the message is one line, ready to be shown."""


class UsageError(BenchsuiteError, ValueError):
    """A bad value from the outside, such as an axis, a name or a file."""


class Unsupported(BenchsuiteError):  # noqa: N818 - an answer, not an error
    """A case that has no meaning here (no such device or option): it is skipped, not failed.

    Args:
        reason: One line.
        facts: Columns of `records.SCHEMA` that the attempt has established nevertheless.
    """

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason)
        self.facts = facts


def one_line(error: BaseException, limit: int = 300) -> str:
    """The message of an error on one line, cut to at most `limit` characters."""
    text = " ".join(str(error).split()) or "no message"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def described(error: BaseException, limit: int = 300) -> str:
    """Type and message of an error on one line; the type is left out where the message suffices.

    Args:
        error: Any exception. The messages of `BenchsuiteError` and of classes derived from
            `MemoryError` suffice.
        limit: Most characters of the message.
    """
    message = one_line(error, limit)
    if isinstance(error, BenchsuiteError | MemoryError) and type(error) is not MemoryError:
        return message
    return f"{type(error).__name__}: {message}"


def quoted(value: object, limit: int = 80) -> str:
    """A bad value for a message: its repr, cut to at most `limit` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not show whole numbers of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def unknown(
    kind: str,
    value: str,
    allowed: Iterable[str],
    hint: str = "",
    *,
    synonyms: Mapping[str, str] | None = None,
) -> UsageError:
    """Build the error for a name that is not among the allowed ones.

    Args:
        kind: What the name should be one of: "model", "axis", "study" …
        value: The bad name.
        allowed: The allowed names.
        hint: What else is accepted, added at the end.
        synonyms: Other words, in lower case → the allowed name that each stands for.
    """
    names = list(allowed)
    close = _closest(value, names, synonyms or {})
    meant = f"did you mean {close!r}? " if close else ""
    tail = f"; {hint}" if hint else ""
    return UsageError(f"unknown {kind} {quoted(value)}: {meant}allowed: {', '.join(names)}{tail}")


def _closest(value: str, names: list[str], synonyms: Mapping[str, str]) -> str | None:
    """The allowed name nearest to `value`, upper and lower case ignored; None if none is near."""
    lower = {**{name.lower(): name for name in reversed(names)}, **synonyms}
    close = difflib.get_close_matches(value.lower(), lower, n=1, cutoff=0.5)
    return lower[close[0]] if close else None
