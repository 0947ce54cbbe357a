"""How a training's progress is shown: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchsuite.cli._app import PLAIN_LINE_SECONDS, say

if TYPE_CHECKING:
    from benchsuite.learning.trainer import Progress

Show = Callable[[str, "Progress"], None]


@contextmanager
def training_progress(models: int) -> Iterator[Show]:
    """Yields what to call with a model's name and its progress; writes to standard error.

    Args:
        models: How many will be trained, one after another.
    """
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.progress import BarColumn
    from rich.progress import Progress as Bar

    from benchsuite.cli._console import FieldColumn, SafeConsole

    with Bar(
        FieldColumn("{model}"),
        BarColumn(),
        FieldColumn("{told}"),
        console=SafeConsole(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=models, model="", told="building")
        done: dict[str, float] = {}

        def show(model: str, progress: Progress) -> None:
            done[model] = progress.share
            before = len(done) - 1
            bar.update(task, completed=before + done[model], model=model, told=_words(progress))

        yield show


def _plain() -> Show:
    """Lines for logs: the last step of each model, and at most one in five seconds before it."""
    last_line = 0.0

    def show(model: str, progress: Progress) -> None:
        nonlocal last_line
        if progress.share < 1 and time.monotonic() - last_line < PLAIN_LINE_SECONDS:
            return
        last_line = time.monotonic()
        say(f"{model}: {_words(progress)}")

    return show


def _words(progress: Progress) -> str:
    from benchsuite.units import show_clock

    of = f"/{progress.steps}" if progress.steps is not None else ""
    left = progress.seconds / progress.share - progress.seconds if progress.share else 0.0
    return (
        f"step {progress.step}{of}  loss {progress.loss:.3g}  best {progress.best:.3g}"
        f"  ETA {show_clock(left)}"
    )
