"""Trace, explanation, memory and timeline of one case, as files of one directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.measures.memory import retained
from benchsuite.profiling.allocations import memory_figure, record_memory
from benchsuite.profiling.explain import Explanation, explain
from benchsuite.profiling.recorder import record
from benchsuite.profiling.timeline import timeline_page
from benchsuite.profiling.trace_frame import frame_of
from benchsuite.profiling.written import EXPLANATION, MEMORY, TIMELINE


@dataclasses.dataclass(frozen=True, slots=True)
class Traced:
    """Result of tracing one case.

    Attributes:
        explanation: Where the time of its step goes.
        files: The written files by name: trace, stacks, explanation, timeline, memory.
    """

    explanation: Explanation
    files: dict[str, Path]


def trace_case(case: Case, root: Path) -> Traced:
    """Record and explain a case into the directory `root`/CASE.

    Memory that a step retains is reported in the last sentence of the explanation.

    Args:
        case: The case to run.
        root: Created if missing; files of an earlier trace of the case are replaced.

    Raises:
        Unsupported: if this machine has no such device or the model no such option.
        TooLargeError: if the case does not fit in memory.
        UsageError: if the directory cannot be written to.
    """
    directory = root / case.id.replace("/", "_")
    recording = record(case, directory)
    frame = frame_of(recording.content)
    explanation = explain(frame)
    memory = record_memory(recording.workload)
    if memory.retained:
        words = retained(memory.retained)
        note = f"{words[0].upper()}{words[1:]}."
        explanation = dataclasses.replace(explanation, sentences=[*explanation.sentences, note])
    texts = {
        "explanation": (EXPLANATION, json.dumps(explanation.to_dict(), indent=1) + "\n"),
        "timeline": (TIMELINE, timeline_page(frame, explanation.case)),
        "memory": (MEMORY, memory_figure(memory)),
    }
    files = {"trace": recording.trace, "stacks": recording.stacks}
    for name, (file, text) in texts.items():
        files[name] = directory / file
        try:
            files[name].write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {files[name]}: {error.strerror}; choose another with -o"
            ) from error
    return Traced(explanation, files)
