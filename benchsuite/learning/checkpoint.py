"""Checkpoints: the state of a training run in one file, replaced atomically."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from benchsuite.errors import BenchsuiteError, UsageError

#: Version of the file format; in 2 the hand-written recurrences have torch's parameters.
FORMAT = 2


def save(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint; a concurrent reader gets either the old or the new one.

    Args:
        path: The file.
        identity: Values that must be equal to resume from it.
        state: Plain values and tensors.

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
            f"cannot write {path}: {reason}; free some space or choose another directory"
        ) from error


def load(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read the state of the training with this identity. Loading executes no code from the file.

    Raises:
        UsageError: if it cannot be read, or belongs to another training; the message names the
            value that differs.
    """
    fix = "start again without resuming"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, stored, state = (content[key] for key in ("format", "identity", "state"))
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UsageError(f"{path} is not a readable checkpoint; {fix}") from error
    if version != FORMAT:
        raise UsageError(f"checkpoint {path} has format {version}, not {FORMAT}; {fix}")
    for key, value in identity.items():
        if stored.get(key) != value:
            raise UsageError(
                f"checkpoint {path} was made with {key}={stored.get(key)}, not {value}; {fix}"
            )
    return state  # type: ignore[no-any-return]
