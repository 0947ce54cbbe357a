"""The comparison of two sets of records, case by case: faster, slower, or neither with certainty.

A case's ratio is the Hodges–Lehmann estimate over processes: the median of the ratios of every
process of one side to every process of the other, each represented by its median. Its error has two
parts (see `noise`): the error within each process, by a block bootstrap of its raw samples, and the
noise between processes. With one process per side the latter is estimated from all cases together;
with several it is the variance of each case, robustly estimated, drawn towards that of all cases
(Smyth 2004, the moderated t), so that a case that happens to repeat well is not trusted too much.

This is a model of the noise, and few runs cannot show whether it holds. A case therefore gets a
verdict only if a test without a model finds a change in all cases together (see `relabelling`): if
nothing changed, at most 5 % of comparisons call any case faster or slower. With too few runs for
that test, the verdict is "too few runs".

As there are many cases, p values are corrected by Benjamini & Hochberg 1995: at most 5 % of the
cases called faster or slower are so by chance. That holds under the positive dependence of cases of
one run, and unlike Holm's correction it keeps its power when a change concerns many cases, as a
change of a kernel does.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.noise import LEAST_DIFFERENCE, Noise, floor
from benchsuite.analysis.ratio import (
    THRESHOLD,
    Processes,
    errors_of,
    processes_of,
    runs_needed,
)
from benchsuite.analysis.relabelling import enough_runs, least_runs, relabelled
from benchsuite.analysis.select import measured
from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES

ALPHA = 0.05
#: The verdict where even the largest change could not be shown.
TOO_FEW = "too few runs"
#: Columns of the frames that are compared.
READ = (
    *AXES,
    *("case", "machine", "commit", "tree", "torch", "measure", "version", "unit", "value"),
    *("samples", "n_samples", "status", "reason", "started_at", "uid"),
    *("cpu", "gpu", "python", "threads", "governor"),
)
COLUMNS = (
    *("case", *AXES, "unit", "base", "head", "ratio", "low", "high", "p", "verdict"),
    *("base_runs", "head_runs", "runs_needed", "reason"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        table: One row per case of either side, columns `COLUMNS`: `base` and `head` in `unit`,
            `ratio` head / base with its 95 % interval, `p` (corrected, and not smaller than the
            comparison's), `verdict`: "faster", "slower" (for other units: "lower", "higher"),
            "cannot tell", "too few runs", "same" (counted values only: equal within the measure's
            tolerance) or "missing"; `runs_needed`: runs of each side that a change of twice the
            threshold needs, 0 if it would be found now; `reason` of a missing case.
        p: The p value of "no case changed"; NaN for exact values and with too few runs.
        noise: "base" and "head" → noise floor.
        notes: Sentences on limits of the comparison.
    """

    table: pd.DataFrame
    p: float
    noise: dict[str, Noise]
    notes: tuple[str, ...]


def compare(
    base: pd.DataFrame,
    head: pd.DataFrame,
    measure: str,
    *,
    alpha: float = ALPHA,
    threshold: float = THRESHOLD,
) -> Comparison:
    """Compare two sets of records.

    Args:
        base: Records with every attempt, at least the columns `READ`; each ok one counts as a
            separate process.
        head: The records that are compared with it, likewise.
        measure: The measure's name.
        alpha: The share of comparisons of equal sides in which any case may be called faster or
            slower, and the false discovery rate.
        threshold: Least relative change that gets a verdict, however certain it is.

    Raises:
        UsageError: if the sides are of different machines, of different versions of the measure, or
            have no case in common.
    """
    spec = MEASURES.get(measure)
    sides = {"base": base, "head": head}
    sides = {name: frame[frame["measure"] == measure] for name, frame in sides.items()}
    _check(sides, measure)
    noise = {name: floor(frame, measure) for name, frame in sides.items()}
    timed = any((frame["n_samples"] > 1).any() for frame in sides.values())
    processes = {
        name: processes_of(measured(frame, measure), noise[name]) for name, frame in sides.items()
    }
    shared = [case for case in processes["base"] if case in processes["head"]]
    pairs = [(processes["base"][case], processes["head"][case]) for case in shared]
    if timed:
        table, p = timed_rows(shared, pairs, alpha, threshold)
    else:
        table, p = _counted(shared, pairs, spec.log_tolerance), math.nan
    if spec.unit != "s" and len(table):
        table["verdict"] = table["verdict"].replace({"faster": "lower", "slower": "higher"})
    about = pd.concat(sides.values()).drop_duplicates("case", keep="last").set_index("case")
    table = pd.concat([table, _missing(sides, set(shared))], ignore_index=True)
    table = table.join(about[[*AXES, "unit"]], on="case").reindex(columns=list(COLUMNS))
    notes = [*_notes(sides, noise, timed), *(_run_notes(table, p, alpha) if timed else ())]
    return Comparison(table, p, noise, tuple(notes))


def _check(sides: dict[str, pd.DataFrame], measure: str) -> None:
    for name, frame in sides.items():
        if not len(frame):
            raise UsageError(f"the {name} has no records of {measure!r}; see --measure")
    for column, fix in (
        ("machine", "numbers of different machines cannot be compared; measure both on one"),
        ("version", f"{measure!r} has changed its meaning; measure the older one again"),
    ):
        values = {name: sorted(set(frame[column])) for name, frame in sides.items()}
        count = len({value for own in values.values() for value in own})
        if count > 1:
            words = "; ".join(f"{name}: {', '.join(own)}" for name, own in values.items())
            raise UsageError(f"records of {count} {column}s ({words}): {fix}")
    if not set(sides["base"]["case"]) & set(sides["head"]["case"]):
        one, other = (frame["case"].iloc[0] for frame in sides.values())
        raise UsageError(f"no case is in both: base has {one}, head has {other}, for example")


def timed_rows(
    shared: list[str],
    pairs: list[tuple[Processes, Processes]],
    alpha: float,
    threshold: float,
) -> tuple[pd.DataFrame, float]:
    """Rows of cases that both sides have, with the noise of timing, and one p value for all."""
    enough = np.array([enough_runs(len(b.log), len(h.log), alpha) for b, h in pairs], bool)
    together, p = math.nan, np.full(len(pairs), math.nan)
    if enough.any():
        usable = [(b.log, h.log) for (b, h), use in zip(pairs, enough, strict=True) if use]
        together, p[enough] = relabelled(usable, math.log1p(threshold))
    ratio = np.array([np.median(np.subtract.outer(h.log, b.log)) for b, h in pairs])
    error, degrees = errors_of(pairs)
    error = np.maximum(error, LEAST_DIFFERENCE)
    corrected = p.copy()
    if enough.any():
        corrected[enough] = np.maximum(stats.false_discovery_control(p[enough]), together)
    half = stats.t.ppf(0.975, degrees) * error
    called = (corrected <= alpha) & (np.abs(np.expm1(ratio)) >= threshold) & (np.abs(ratio) > half)
    verdict = np.where(called, np.where(ratio < 0, "faster", "slower"), "cannot tell")
    verdict = np.where(enough, verdict, TOO_FEW)
    critical = float(p[called].max()) if called.any() else alpha / max(len(p), 1)
    runs = np.array([min(len(b.log), len(h.log)) for b, h in pairs], int)
    least = least_runs(alpha)
    needed = [
        0 if done else max(want, least)
        for want, done in zip(
            runs_needed(error * np.sqrt(runs), critical, threshold).tolist(), called, strict=True
        )
    ]
    table = pd.DataFrame(
        {
            "case": shared,
            "base": [float(np.exp(np.median(base.log))) for base, _ in pairs],
            "head": [float(np.exp(np.median(head.log))) for _, head in pairs],
            "ratio": np.exp(ratio),
            "low": np.exp(ratio - half),
            "high": np.exp(ratio + half),
            "p": corrected,
            "verdict": verdict,
            "base_runs": [len(base.log) for base, _ in pairs],
            "head_runs": [len(head.log) for _, head in pairs],
            "runs_needed": [
                0 if want <= n else want for want, n in zip(needed, runs.tolist(), strict=True)
            ],
        }
    )
    return table, together


def _counted(
    shared: list[str], pairs: list[tuple[Processes, Processes]], tolerance: float
) -> pd.DataFrame:
    """Rows of cases whose values are counted: differences of log values above the tolerance."""
    rows = []
    for case, (base, head) in zip(shared, ((b.log, h.log) for b, h in pairs), strict=True):
        low, high = (head.min() - base.max(), head.max() - base.min())
        ratio = float(np.median(np.subtract.outer(head, base)))
        verdict = "cannot tell"  # repeats of one side differ by more
        if max(-low, high) <= tolerance:
            verdict = "same"
        elif high < -tolerance or low > tolerance:
            verdict = "faster" if high < 0 else "slower"
        rows.append(
            {
                "case": case,
                "base": float(np.exp(np.median(base))),
                "head": float(np.exp(np.median(head))),
                "ratio": math.exp(ratio),
                "low": math.exp(low),
                "high": math.exp(high),
                "p": math.nan,
                "verdict": verdict,
                "base_runs": len(base),
                "head_runs": len(head),
                "runs_needed": 0,
            }
        )
    return pd.DataFrame(rows)


def _missing(sides: dict[str, pd.DataFrame], shared: set[str]) -> pd.DataFrame:
    """A row for each case with a value on one side only."""
    rows = []
    for case in dict.fromkeys(itertools.chain(*(frame["case"] for frame in sides.values()))):
        if case in shared:
            continue
        why = {
            name: _why(frame[frame["case"] == case])
            for name, frame in sides.items()
            if not len(measured(frame[frame["case"] == case], str(frame["measure"].iloc[0])))
        }
        if len(why) > 1 and len(set(why.values())) == 1:
            why = {"both": next(iter(why.values()))}
        reason = "; ".join(f"{name}: {text}" for name, text in why.items())
        rows.append({"case": case, "verdict": "missing", "reason": reason})
    return pd.DataFrame(rows, columns=["case", "verdict", "reason"])


def _why(rows: pd.DataFrame) -> str:
    if not len(rows):
        return "not measured"
    last = rows.sort_values("started_at", kind="stable").iloc[-1]
    return f"{last['status']}, {last['reason']}" if last["reason"] else str(last["status"])


def _notes(sides: dict[str, pd.DataFrame], noise: dict[str, Noise], timed: bool) -> list[str]:
    notes = []
    for column in ("torch", "cpu", "gpu", "python", "threads", "governor"):
        base, head = (sorted({str(v) for v in f[column].dropna()} - {""}) for f in sides.values())
        if base != head and base and head:
            notes.append(f"{column} differs: base {', '.join(base)}; head {', '.join(head)}")
    if not timed:
        return notes
    if all(own.source == "none" for own in noise.values()):
        notes.append(
            "the noise between processes could not be estimated: there are neither repeats nor"
            " lines of three lengths; verdicts count the noise within a process only"
        )
    return notes


def _run_notes(table: pd.DataFrame, p: float, alpha: float) -> list[str]:
    """Notes on too few runs, and on a test of all cases together that finds no change."""
    notes = []
    few = table[table["verdict"] == TOO_FEW]
    if len(few):
        compared = int((table["verdict"] != "missing").sum())
        which = "" if len(few) == compared else f" for {len(few)} of {compared} cases"
        base, head = (int(few[f"{side}_runs"].max()) for side in ("base", "head"))
        notes.append(
            f"too few runs{which}: base {base}, head {head}. No ratio gets a verdict, as with so"
            f" few runs chance cannot be excluded. At least {least_runs(alpha)} runs of each side"
            " are needed; measure both in turn (`benchsuite run STUDY --fresh`)"
        )
    if p > alpha:
        notes.append(
            "no case is called faster or slower: exchanging runs between the sides at random gives"
            f" differences as large as these in {p:.0%} of all exchanges"
        )
    return notes
