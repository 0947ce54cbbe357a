"""Errors that are meant to be read: the bad value, the allowed ones, the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchsuiteError(Exception):
    """Something the user can mend; the message is one line, ready to be shown."""


class UsageError(BenchsuiteError, ValueError):
    """A bad value from the outside: an axis, a name, a file."""


class Unsupported(BenchsuiteError):  # noqa: N818 - an answer, not an error
    """This case has no meaning here (no such device, no such option); it is skipped, not failed."""


def unknown(kind: str, value: str, allowed: Iterable[str], hint: str = "") -> UsageError:
    """Build the error for a name that is not among the allowed ones.

    Args:
        kind: What was named: "model", "axis", "study" …
        value: The bad name.
        allowed: The names that would have been right.
        hint: What else would be accepted, added at the end.
    """
    names = list(allowed)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}? " if close else ""
    tail = f"; {hint}" if hint else ""
    return UsageError(f"unknown {kind} {value!r}: {meant}allowed: {', '.join(names)}{tail}")
