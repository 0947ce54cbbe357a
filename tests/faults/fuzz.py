"""Mutated input files against the command line: how many were tried, how many ended in a traceback.

    python tests/faults/fuzz.py [--engine hypothesis|atheris] [--seconds N] [--tries N] [KIND …]

Every kind of input (see `targets.TARGETS`) is tried in this process, until `--tries` inputs were given
to a command, `LEAST` unless given, or `--seconds` have passed. Bombs are tried once each. A command may end with exit code 0, 1
or 2 and a message of one line. Any other exception, more than `targets.LIMIT` seconds of processor
time or more than `MEMORY` of address space is a failure, which is printed once per place of the code.
The exit code of the script is 1 if there was any.

hypothesis draws inputs at random; atheris (coverage-guided, one kind a process) changes those that
reached new lines of the suite. `--keep DIRECTORY` keeps an input for each failure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

#: Bytes of address space that this process may use.
MEMORY = 8 << 30
#: Seconds for all bombs, at least.
BOMB_SECONDS = 120
#: How many inputs of each kind are tried unless `--tries` says otherwise.
LEAST = {
    "records, loaded": 2000,
    "records in report": 501,
    "records in advise": 1245,
    "records in compare": 501,
    "rows of another kind": 89,
    "studies": 65,
    "explanations": 21,
    "traces": 100,
    "parquet": 91,
    "encodings": 78,
    "bombs": 8,
}


class Over(Exception):  # noqa: N818 - the end of the budget, not an error
    """A kind has had its tries or its time."""


class Fuzzing:
    """Tries inputs of one kind, and counts.

    Attributes:
        tried: Inputs that were given to a command.
        failures: Place and message of each failure → number.
        slowest: Most seconds that an input took.
    """

    def __init__(self, kind: str, seconds: float, tries: int, keep: Path | None) -> None:
        self._keep = keep
        self._seconds, self._tries, self._start = seconds, tries, time.monotonic()
        self.kind, self.tried, self.slowest = kind, 0, 0.0
        self.failures: Counter[str] = Counter()

    def attempt(self, target: Callable[[Path], None]) -> None:
        """Try one input, in an empty directory.

        Raises:
            Over: at the end of the budget.
        """
        began = time.monotonic()
        if self.tried >= self._tries or began - self._start > self._seconds:
            raise Over
        place = Path(tempfile.mkdtemp(prefix="fuzz", dir="."))
        try:
            target(place)
        except (Exception, KeyboardInterrupt) as error:
            if type(error).__module__.startswith("hypothesis"):
                raise  # there is no such input
            self._count(error, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        self.tried += 1
        self.slowest = max(self.slowest, time.monotonic() - began)

    def _count(self, error: BaseException, place: Path) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/benchsuite/" in frame.filename]
        at = f"{own[-1].filename.rpartition('/benchsuite/')[2]}:{own[-1].lineno}" if own else ""
        words = f"{at} {type(error).__name__}: {str(error)[:200]!a}"
        self.failures[words] += 1
        if self._keep and self.failures[words] == 1:
            kept = self._keep / f"{self.kind}-{len(self.failures)}".replace(" ", "-")
            shutil.copytree(place, kept)
            (kept / "how.txt").write_text(f"{' '.join(sys.argv)}\n{words}\n", errors="replace")

    def document(self) -> dict:
        """What came of it, for `--json`."""
        return {
            "kind": self.kind,
            "tried": self.tried,
            "failures": dict(self.failures.most_common()),
            "slowest": round(self.slowest, 1),
            "seconds": round(time.monotonic() - self._start, 1),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }


def line(found: dict) -> str:
    """A row of the table, and a line for each failure."""
    count = sum(found["failures"].values())
    text = (
        f"{found['kind']:21} {found['tried']:6} {count:11} {found['slowest']:9.1f}"
        f" {found['seconds']:9.1f} {found['peak']:9}"
    )
    failures = (f"    {number} × {words}" for words, number in found["failures"].items())
    return "\n".join([text, *failures])


HEADING = "kind                   tried  tracebacks slowest/s   total/s  peak/MiB"


def bombs(fuzzing: Fuzzing) -> None:
    """Try every bomb once."""
    from targets import BOMBS

    with contextlib.suppress(Over):
        for bomb in BOMBS:
            fuzzing.attempt(bomb)


def by_hypothesis(fuzzing: Fuzzing, seed: int) -> None:
    """Draw inputs at random until the budget is spent."""
    from targets import TARGETS

    target = TARGETS[fuzzing.kind]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=10**9,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def attempt(data: st.DataObject) -> None:
        fuzzing.attempt(lambda place: target(data.draw, place))

    # Raising `Over` before anything is drawn is also reported as inconsistent generation of data.
    with contextlib.suppress(Over, hypothesis.errors.FlakyStrategyDefinition):
        attempt()


def by_atheris(fuzzing: Fuzzing, seed: int, report: str) -> None:
    """Change inputs that reach new code until the budget is spent; this process ends then."""
    import atheris
    from targets import TARGETS

    target = TARGETS[fuzzing.kind]

    @hypothesis.settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(st.data())
    def attempt(data: st.DataObject) -> None:
        fuzzing.attempt(lambda place: target(data.draw, place))

    def one(data: bytes) -> None:
        try:
            attempt.hypothesis.fuzz_one_input(data)
        except Over:
            Path(report).write_text(json.dumps(fuzzing.document()), encoding="utf-8")
            os._exit(0)

    corpus = Path("corpus")
    corpus.mkdir()
    draw = random.Random(seed)
    for number in range(64):  # an input is what hypothesis draws from such bytes
        (corpus / str(number)).write_bytes(draw.randbytes(4096))
    options = [
        f"-seed={seed + 1}",
        "-max_len=8192",
        "-len_control=0",
        "-rss_limit_mb=0",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def prepare() -> None:
    """Limit this process, warm it up in an empty directory, and import what is fuzzed."""
    from targets import LIMIT, command, remember_reports, tables

    def too_long(*_: object) -> None:
        raise TimeoutError(f"took more than {LIMIT} s of processor time")

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, too_long)
    remember_reports()
    tables()
    command("report", "tables/records.parquet", "-o", "out")  # imports are not timed


def main() -> int:
    """Try the kinds and print what came of it."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("kinds", metavar="KIND", nargs="*", help=", ".join(LEAST))
    options.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    options.add_argument("--seconds", type=float, default=900.0, help="at most, for each kind")
    options.add_argument("--tries", type=int, help="of each kind")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=lambda text: Path(text).absolute())
    options.add_argument("--json", action="store_true", help="a line of JSON for each kind")
    options.add_argument("--report", help=argparse.SUPPRESS)  # of a process that atheris ends
    given = options.parse_args()
    kinds = given.kinds or [k for k in LEAST if k != "bombs" or given.engine == "hypothesis"]
    for kind in kinds:
        if kind not in LEAST:
            options.error(f"unknown kind {kind!r}; there are {', '.join(LEAST)}")
    for name in [n for n in os.environ if n.startswith("BENCHSUITE_")]:
        del os.environ[name]
    if not given.json and not given.report:
        print(HEADING, flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        if given.engine == "atheris" and not given.report:
            results = (_in_process(kind, given, directory) for kind in kinds)
        else:
            results = _here(kinds, given, directory)
        for found in results:
            failed += sum(found["failures"].values())
            print(json.dumps(found) if given.json else line(found), flush=True)
    return bool(failed)


def _here(kinds: list[str], given: argparse.Namespace, directory: str) -> Iterator[dict]:
    if given.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["benchsuite"]):
            import targets

            for module in targets.LAZY:
                importlib.import_module(module)
    os.chdir(directory)
    prepare()
    for kind in kinds:
        if kind == "bombs":
            bombs(
                fuzzing := Fuzzing(kind, max(given.seconds, BOMB_SECONDS), LEAST[kind], given.keep)
            )
            yield fuzzing.document()
            continue
        tries = LEAST[kind] if given.tries is None else given.tries
        fuzzing = Fuzzing(kind, given.seconds, tries, given.keep)
        if given.engine == "atheris":
            by_atheris(fuzzing, given.seed, given.report)
        else:
            by_hypothesis(fuzzing, given.seed)
        yield fuzzing.document()


def _in_process(kind: str, given: argparse.Namespace, directory: str) -> dict:
    """One kind by atheris, in a process that it may end."""
    report = Path(directory) / "report.json"
    words = [arg for arg in sys.argv[1:] if arg not in given.kinds and arg != "--json"]
    command = [sys.executable, __file__, *words, "--report", str(report), kind]
    limit = 2 * given.seconds + 300  # an input may take longer than what is left
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit)
    if done.returncode or not report.exists():
        words = f"atheris ended with exit code {done.returncode}: {done.stderr[-500:]}"
        return {**dict.fromkeys(("tried", "slowest", "seconds", "peak"), 0), "kind": kind,
                "failures": {words: 1}}  # fmt: skip
    found = json.loads(report.read_text("utf-8"))
    report.unlink()
    return found


if __name__ == "__main__":
    sys.exit(main())
