"""Checkpoints: a training's state in one file, replaced in one piece."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from benchsuite.errors import BenchsuiteError, UsageError

#: 2: the hand-written recurrences have torch's parameters.
FORMAT = 2


def save(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint; whoever reads meanwhile sees the old one or the new one.

    Raises:
        BenchsuiteError: if it cannot be written.
    """
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"format": FORMAT, "identity": identity, "state": state}, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        reason = getattr(error, "strerror", None) or str(error)
        raise BenchsuiteError(
            f"cannot write {path}: {reason}; free some space or choose another place"
        ) from error


def load(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read the state of the same training. Loading runs no code out of the file.

    Raises:
        UsageError: if it cannot be read, or is of another training; the message says in what.
    """
    anew = "start anew without resuming"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        version, known, state = (found[key] for key in ("format", "identity", "state"))
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UsageError(f"{path} is no checkpoint that can be read; {anew}") from error
    if version != FORMAT:
        raise UsageError(f"checkpoint {path} has format {version}, not {FORMAT}; {anew}")
    for key, value in identity.items():
        if known.get(key) != value:
            raise UsageError(
                f"checkpoint {path} was made with {key}={known.get(key)}, not {value}; {anew}"
            )
    return state  # type: ignore[no-any-return]
