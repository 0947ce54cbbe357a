"""How fast the native recurrences are, as ratios to torch's layers, or to ONNX Runtime's.

    python tests/perf/ladder.py [--kind lstm gru] [--rows 1 8 32] [--units 32 64 128]
                                [--steps 64 512 2048] [--processes 3]
                                [--baseline eager|onnxruntime]

Each process measures every cell once: the native layer and the baseline, torch's layer run by an
engine, take blocks of steps in turn, ABBA, so that a slow minute of the machine falls on both, and
the ratio of a pair of blocks is one sample. Printed are the baseline's time, and the median over
processes of their median ratios with the lowest and highest of them, for inference and, with the
engine eager, for a training step (forward, mean square, backward). One thread. A benchmark, not a
test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PAIRS, BLOCK_SECONDS = 9, 0.03
MODES = ("infer", "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--units", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--steps", nargs="+", type=int, default=[64, 512, 2048])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--baseline", choices=["eager", "onnxruntime"], default="eager")
    parser.add_argument("--cells", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cells:
        print(json.dumps([measure(*cell, given.baseline) for cell in json.loads(given.cells)]))
        return
    modes = MODES if given.baseline == "eager" else MODES[:1]
    cells = list(itertools.product(given.kind, given.units, given.rows, given.steps, modes))
    runs = []
    for _ in range(given.processes):
        command = [
            sys.executable,
            __file__,
            "--cells",
            json.dumps(cells),
            "--baseline",
            given.baseline,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    print(f"{'':6}{'H':>5}{'B':>4}{'T':>6}  mode   {given.baseline:>12}  native / {given.baseline}")
    for cell, found in zip(cells, zip(*runs, strict=True), strict=True):
        kind, units, rows, steps, mode = cell
        library = statistics.median(time for time, _ in found)
        ratios = sorted(ratio for _, ratio in found)
        span = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{kind:6}{units:5}{rows:4}{steps:6}  {mode}  {library * 1e3:9.3f} ms  {span}")
    for kind, mode in itertools.product(given.kind, modes):
        medians = [
            statistics.median(ratio for _, ratio in found)
            for cell, found in zip(cells, zip(*runs, strict=True), strict=True)
            if (cell[0], cell[-1]) == (kind, mode)
        ]
        faster = sum(ratio <= 1 for ratio in medians)
        print(
            f"{kind} {mode}: at most the baseline's time in {faster} of {len(medians)} cells,"
            f" {min(medians):.2f} to {max(medians):.2f}"
        )


def measure(
    kind: str, units: int, rows: int, steps: int, mode: str, baseline: str
) -> tuple[float, float]:
    """Seconds of a step of the baseline, and the median ratio of the native layer to it."""
    import torch

    from benchsuite.models.gru import GRU
    from benchsuite.models.lstm import LSTM
    from benchsuite.runtime.engines.onnx_runtime import OnnxRuntime

    torch.set_num_threads(1)
    torch.manual_seed(0)
    library = getattr(torch.nn, kind.upper())(units, units, batch_first=True)
    native = {"lstm": LSTM, "gru": GRU}[kind](units, units, batch_first=True, variant="native")
    native.load_state_dict(library.state_dict())
    x = torch.randn(rows, steps, units)

    def step_of(module: torch.nn.Module) -> Callable[[], object]:
        def infer() -> object:
            with torch.inference_mode():
                return module(x)[0]

        def train() -> object:
            module.zero_grad(set_to_none=True)
            return module(x)[0].square().mean().backward()

        return train if mode == "train" else infer

    steps_of = [step_of(library), step_of(native)]
    if baseline == "onnxruntime":
        exported = OnnxRuntime().prepare(outputs_only(library), x, train=False)
        steps_of[0] = lambda: exported(x)
    times: tuple[list[float], list[float]] = ([], [])
    count = 1
    for step in steps_of:
        step()
    while (spent := _seconds(steps_of[0], count)) < BLOCK_SECONDS / 2:
        count = max(count + 1, int(count * BLOCK_SECONDS / max(spent, 1e-6)))
    for pair in range(PAIRS):
        for index in (0, 1) if pair % 2 else (1, 0):
            times[index].append(_seconds(steps_of[index], count) / count)
    ratios = [two / one for one, two in zip(*times, strict=True)]
    return statistics.median(times[0]), statistics.median(ratios)


def outputs_only(layer: Any) -> Any:
    """The layer without its last state."""
    import torch

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[0]  # type: ignore[no-any-return]

    return Outputs()


def _seconds(step: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
