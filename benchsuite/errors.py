"""Errors that are meant to be read: the bad value, the allowed ones, the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class BenchsuiteError(Exception):
    """Something the user can mend; the message is one line, ready to be shown."""


class UsageError(BenchsuiteError, ValueError):
    """A bad value from the outside: an axis, a name, a file."""


class Unsupported(BenchsuiteError):  # noqa: N818 - an answer, not an error
    """This case has no meaning here (no such device, no such option); it is skipped, not failed.

    Args:
        reason: One line.
        facts: What the attempt found out all the same, as columns of `records.SCHEMA`.
    """

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason)
        self.facts = facts


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
        kind: What was named: "model", "axis", "study" …
        value: The bad name.
        allowed: The names that would have been right.
        hint: What else would be accepted, added at the end.
        synonyms: Other words, in lower case → the allowed name that is meant by each.
    """
    names = list(allowed)
    close = _closest(value, names, synonyms or {})
    meant = f"did you mean {close!r}? " if close else ""
    tail = f"; {hint}" if hint else ""
    return UsageError(f"unknown {kind} {value!r}: {meant}allowed: {', '.join(names)}{tail}")


def _closest(value: str, names: list[str], synonyms: Mapping[str, str]) -> str | None:
    """The name that is most likely meant; upper and lower case do not count."""
    lower = {**{name.lower(): name for name in reversed(names)}, **synonyms}
    close = difflib.get_close_matches(value.lower(), lower, n=1, cutoff=0.5)
    return lower[close[0]] if close else None
