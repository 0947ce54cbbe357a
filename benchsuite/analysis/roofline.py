"""The roofline: what part of the machine's highest rates a step reaches.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52 (4), 2009: a step of W FLOP that moves Q bytes takes at least
max(W / peak rate, Q / bandwidth). Peak rate and bandwidth are not a vendor's but measured, by a
large matrix product and a long copy (`measures/machine.py`); W is counted (`runtime/count.py`).

Q is the least a step must move, every distinct byte once in each pass that needs it:

- infer: parameters and input read, output written;
- train, in addition: parameters read again by the backward pass, gradients written, and saved
  activations written by the forward pass and read by the backward pass. The output may be among
  the saved activations, so only the larger of the two counts as written. Where saved activations
  were not measured they are left out.

No implementation needs fewer bytes, if they come from memory. Often they do not: a step is repeated
on the same data, so what fits into a cache is there already, and a case can be faster than its
memory bound. Both ceilings are also single measurements of a noisy machine. Fractions above one are
therefore possible and are reported unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Noise, floor, noise_columns, spread
from benchsuite.analysis.select import SIZES, measured, only, without_repeats
from benchsuite.grid.axes import AXES

#: Columns that identify a machine's ceilings.
MACHINE_KEYS = ["machine", "device", "dtype", "num_threads"]
CEILINGS = ("matmul_rate", "copy_bandwidth")
_ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
#: Axes that a count of FLOPs depends on: sizes and work, not the device that does it.
_COUNTED = [n for n in AXES if n not in {"device", "dtype", "num_threads", "seed"}]
#: Axes that saved activations depend on: the kernel chooses them, so device and dtype too.
_KEPT = [*_COUNTED, "device", "dtype"]
_Z = 1.960
COLUMNS = (
    *("latency", "flops", "bytes", "intensity", "achieved", "bound_time", "bound"),
    *("fraction", "low", "high", "tf32"),
    *(f"{name}{end}" for name in CEILINGS for end in ("", "_low", "_high")),
)


def ceilings(frame: pd.DataFrame, *, noise: Noise | None = None) -> pd.DataFrame:
    """The highest rates that the machine was measured to reach.

    Args:
        frame: One row per case and measure (see `newest`).
        noise: The floor; by default that of latency (see `noise.floor`), as a ceiling is the timing
            of one process as well.

    Returns:
        A row per `MACHINE_KEYS`: `matmul_rate` (FLOP/s) and `copy_bandwidth` (B/s), each with
        `…_low` and `…_high`, a 95 % interval; NaN where one was not measured.
    """
    noise = noise or floor(frame, "latency")
    read = (*MACHINE_KEYS, "model", "mode", "measure", "status", "value", *noise_columns(frame))
    rows = pd.concat([measured(only(frame, read), name) for name in CEILINGS])
    rows = rows.drop_duplicates([*MACHINE_KEYS, "measure"], keep="last")
    factor = np.exp(_Z * spread(rows, noise))
    rows = rows.assign(low=rows["value"] / factor, high=rows["value"] * factor)
    table = rows[MACHINE_KEYS].drop_duplicates(ignore_index=True)
    for name in CEILINGS:
        own = rows.loc[rows["measure"] == name, [*MACHINE_KEYS, "value", "low", "high"]]
        names = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
        table = table.merge(own.rename(columns=names), on=MACHINE_KEYS, how="left")
    return table


def roofline(frame: pd.DataFrame, *, noise: Noise | None = None) -> pd.DataFrame:
    """Every timed case with its bound and the fraction of it that is reached.

    Args:
        frame: One row per case and measure (see `newest`), with `latency`, `flops`, `parameters`
            and both ceilings; `saved_activations` where measured. Counts may be measured at
            fewer cases than times: parameters hold for every mode and batch size, FLOPs for every
            device, dtype, number of threads and seed.
        noise: The floor of latency; by default estimated from the frame (see `noise.floor`).

    Returns:
        A row per case with all of these, with all axes, `machine` and: `latency` and
        `bound_time` (s), `flops` (FLOP), `bytes` (B, the least that must move), `intensity`
        (FLOP/B), `achieved` (FLOP/s), `bound` ("arithmetic" or "memory", the one that needs longer,
        or "mixed" where the two differ by less than the 95 % interval of the ceilings' ratio),
        `fraction` (bound_time over latency, not clipped at one) with its 95 % interval `low` to
        `high`, the two ceilings with theirs, and `tf32`: whether convolutions and recurrent layers
        may use TF32 and so exceed a ceiling that was measured with IEEE float32.
    """
    noise = noise or floor(frame, "latency")
    tops = ceilings(frame, noise=noise).dropna(subset=list(CEILINGS))
    names = (*AXES, *MACHINE_KEYS, "case", "measure", "status", "value", *noise_columns(frame))
    rows = only(frame, (*names, "output_size", "tf32_cudnn", "tf32_matmul"))
    rows = measured(rows if len(tops) else rows.iloc[:0], "latency")
    rows = without_repeats(rows, ["case"])
    rows = rows.assign(latency=rows["value"].to_numpy(float), sigma=spread(rows, noise))
    rows = _joined(rows, frame, "flops", _COUNTED, "inner")
    rows = _joined(rows, frame, "parameters", list(SIZES), "inner")
    rows = _joined(rows, frame, "saved_activations", _KEPT, "left")
    rows = rows.merge(tops, on=MACHINE_KEYS, how="inner")
    rows["bytes"] = _least_bytes(rows)
    compute = rows["flops"] / rows["matmul_rate"]
    memory = rows["bytes"] / rows["copy_bandwidth"]
    arithmetic = compute >= memory
    rows["bound_time"] = np.maximum(compute, memory)
    rows["intensity"] = rows["flops"] / rows["bytes"]
    rows["achieved"] = rows["flops"] / rows["latency"]
    rows["fraction"] = rows["bound_time"] / rows["latency"]
    ends = {name: np.log(rows[f"{name}_high"] / rows[name]) / _Z for name in CEILINGS}
    close = np.abs(np.log(compute / memory)) < _Z * np.hypot(*ends.values())
    rows["bound"] = np.select([close, arithmetic], ["mixed", "arithmetic"], "memory")
    ceiling = np.where(arithmetic, ends["matmul_rate"], ends["copy_bandwidth"])
    factor = np.exp(_Z * np.hypot(rows["sigma"], ceiling))
    rows["low"], rows["high"] = rows["fraction"] / factor, rows["fraction"] * factor
    cudnn, matmul = (rows[n].fillna(False).to_numpy(bool) for n in ("tf32_cudnn", "tf32_matmul"))
    exposed = (rows["device"] == "cuda") & (rows["dtype"] == "float32")
    rows["tf32"] = exposed.to_numpy(bool) & cudnn & ~matmul
    return rows[[*AXES, "machine", *COLUMNS]]


def _joined(
    rows: pd.DataFrame, frame: pd.DataFrame, measure: str, keys: list[str], how: str
) -> pd.DataFrame:
    found = measured(only(frame, (*keys, "measure", "status", "value")), measure)
    found = without_repeats(found, keys)[[*keys, "value"]]
    found = found.rename(columns={"value": measure})
    joined: pd.DataFrame = rows.merge(found, on=keys, how=how)  # type: ignore[arg-type]
    return joined


def _least_bytes(rows: pd.DataFrame) -> pd.Series[float]:
    """Bytes that a step must move (see the module's docstring)."""
    item = rows["dtype"].map(_ITEM_BYTES).astype(float)
    steps = rows["batch_size"].astype(float) * rows["seq_len"].astype(float)
    weights = item * rows["parameters"]
    inputs = item * steps * rows["input_size"].astype(float)
    # An output of unknown size does not count: what is left is still a lower bound.
    outputs = item * steps * rows["output_size"].astype(float).fillna(0)
    saved = rows["saved_activations"].fillna(0)
    infer = weights + inputs + outputs
    train = 3 * weights + inputs + np.maximum(outputs, saved) + saved
    return infer.where(rows["mode"] == "infer", train)


def roofline_words(table: pd.DataFrame, *, most: int = 24) -> list[str]:
    """Sentences on a table of `roofline`: one per model and mode, then `bound_words`.

    Args:
        table: From `roofline`; an empty one gives no sentence.
        most: Sentences per model and mode at most; one more states how many are left out.
    """
    lines = list(model_words(table)) if len(table) else []
    left = len(lines) - most
    rest = [f"{left} more lines are in the table."] if left > 0 else []
    return lines[:most] + rest + bound_words(table)


def bound_words(table: pd.DataFrame) -> list[str]:
    """Sentences on what bounds the cases of a table of `roofline`, and why some exceed it.

    Args:
        table: From `roofline`; an empty one gives no sentence.
    """
    if not len(table):
        return []
    count = table["bound"].value_counts()
    words = {
        "arithmetic": "arithmetic",
        "memory": "memory",
        "mixed": "either (within noise)",
    }
    parts = [f"{word} in {count[name]}" for name, word in words.items() if name in count]
    lines = [
        "The roofline is the least time that a step's arithmetic and memory traffic need on this"
        f" machine. The limit that binds first is {', '.join(parts)} of {len(table)} cases."
        " Overhead (Python, dispatch, launching kernels) is in neither limit; where a step's time"
        " really goes is under Models, from its trace."
    ]
    above = table[table["fraction"] > 1]
    if len(above):
        lines.append(
            f"{len(above)} of {len(table)} cases are above the bound, up to"
            f" {_percent(above['fraction'].max())}: their data stay in a cache, or the ceilings"
            " were measured too low."
        )
    if table["tf32"].any():
        lines.append(
            "Ceilings are those of IEEE float32; convolutions and recurrent layers of cuDNN may use"
            " TF32 and exceed them."
        )
    return lines


def model_words(table: pd.DataFrame) -> Iterator[str]:
    """A sentence per model and mode on the part of the roofline that is reached.

    Args:
        table: From `roofline`.
    """
    where = ["device", "dtype", "num_threads", "match"]
    named = [name for name in where if table[name].nunique() > 1]
    for key, rows in table.groupby([*where, "mode", "model"], sort=False):
        *values, mode, model = key
        varying = [f"{n}={v}" for n, v in zip(where, values, strict=True) if n in named]
        batches = rows.groupby("batch_size")["fraction"].agg(["median", "count"])
        ends = batches.iloc[sorted({0, len(batches) - 1})]
        parts = [f"{_percent(m)} (B={batch})" for batch, m in ends["median"].items()]
        counts = " and ".join(map(str, dict.fromkeys(ends["count"])))
        best = rows.sort_values("fraction").iloc[-1]
        yield (
            f"{', '.join([*varying, str(mode)])}: `{model}` reaches {' to '.join(parts)} of the"
            f" roofline (median of {counts} cases); best {_percent(best['fraction'])} at"
            f" T={best['seq_len']}, B={best['batch_size']}, H={best['hidden_size']}."
        )


def _percent(fraction: float) -> str:
    """Two digits below ten per cent, whole numbers above."""
    return f"{fraction:.0%}" if fraction >= 0.0995 else f"{100 * fraction:.2g}%"
