"""The compiled linear recurrences beside torch's operators and torch's GRU, as ratios of one run.

    python tests/perf/linear.py [--rounds 7] [PART …]

Parts: build (seconds to compile each source), recurrence (h = a h + b alone), lru (the whole model),
mingru (a training step beside torch.nn.GRU), scaling (exponents in T), error (rounding). Executions take turns, in one
thread; times are medians of the process's CPU time, with the least and the greatest of the rounds.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchsuite.models.kernels import compiler
from benchsuite.models.linear.lru import LRU
from benchsuite.models.linear.minimal import MinGRU, MinLSTM, _in_logarithms
from benchsuite.models.linear.rglru import RGLRU
from benchsuite.models.linear.s4d import S4D
from benchsuite.models.linear.scan import CONSTANT, recur
from benchsuite.models.linear.selective import SelectiveScan

N = 64
_BUILD = (
    "import sys, time; from pathlib import Path; from benchsuite.models.kernels import compiler;"
    "start = time.perf_counter(); compiler.load(sys.argv[1]); print(time.perf_counter() - start)"
)


def timed(
    actions: dict[str, Callable[[], object]],
    rounds: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """CPU seconds of each action, one mean per round, after a round that does not count.

    In a round each action is repeated for about 20 ms, as the suite repeats a step, but at most ten
    times. `before` is called before each action's turn and is not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    counts = dict.fromkeys(actions, 1)
    for number in range(rounds + 1):
        for name, action in actions.items():
            before()
            start = time.process_time()
            for _ in range(counts[name]):
                action()
            mean = (time.process_time() - start) / counts[name]
            if number:
                seconds[name].append(mean)
            else:
                counts[name] = max(1, min(10, round(0.02 / max(mean, 1e-9))))
    return seconds


def show(title: str, seconds: dict[str, list[float]], reference: str, goal: str) -> None:
    """One line per action, with its ratio to the reference, whose median is one."""
    print(f"\n{title}; ratios to {reference} ({goal})")
    base = statistics.median(seconds[reference])
    for name, own in seconds.items():
        middle = statistics.median(own)
        spread = f"{min(own) * 1e3:.2f} to {max(own) * 1e3:.2f}"
        print(f"  {name:15} {middle * 1e3:9.2f} ms ({spread}) {middle / base:8.2f}")


def step(module: nn.Module, x: torch.Tensor, *, train: bool) -> None:
    """One step of the suite's modes."""
    if train:
        module(x)[0].square().mean().backward()
        module.zero_grad(set_to_none=True)
        return
    with torch.inference_mode():
        module(x)


def build(_: int) -> None:
    """Seconds to compile each source in a new process with an empty cache, then from the cache."""
    print(f"\ncompiling with {' '.join(compiler._command())} (limit 5 s)")
    for source in sorted(Path(compiler.__file__).parent.glob("*.c")):
        with tempfile.TemporaryDirectory() as cache:
            words = [sys.executable, "-c", _BUILD, source.name]
            surroundings = {**os.environ, "XDG_CACHE_HOME": cache}
            first, again = (
                float(
                    subprocess.run(words, env=surroundings, check=True, capture_output=True).stdout
                )
                for _ in range(2)
            )
        print(f"  {source.name:15} {first:.2f} s, from the cache {again * 1e3:.0f} ms")


def recurrence(rounds: int) -> None:
    """A constant complex `a`, as in LRU, without the products around it."""
    for batch, steps, goal, training in ((1, 16384, 20, 5), (16, 2048, 3, 3)):
        torch.manual_seed(0)
        a = torch.polar(torch.full((N,), 0.5), torch.rand(N) * 6).requires_grad_()
        b = torch.randn(batch, steps, N, dtype=torch.complex64).requires_grad_()

        given = b.detach().clone()

        def forward(execution: str, *, overwrite: bool = True) -> None:
            with torch.inference_mode():
                recur(a, given, None, execution, overwrite=overwrite)  # noqa: B023

        def train(execution: str) -> None:
            h = recur(a, b, None, execution)  # noqa: B023
            h.backward(h.detach())
            a.grad = b.grad = None  # noqa: B023

        title = f"recurrence of {N} complex states, T={steps} B={batch}"
        actions = {name: functools.partial(forward, name) for name in CONSTANT}
        actions["native, new h"] = functools.partial(forward, "native", overwrite=False)
        seconds = timed(actions, rounds, lambda: given.copy_(b.detach()))  # noqa: B023
        show(f"{title}, forward", seconds, "native", f"at least {goal} for every other")
        actions = {name: functools.partial(train, name) for name in CONSTANT}
        seconds = timed(actions, rounds)
        show(f"{title}, training", seconds, "native", f"at least {training} for every other")


def lru(rounds: int) -> None:
    """The whole model: N=64 states of 1 and of 64 features."""
    for features, batch, steps in ((1, 1, 16384), (64, 1, 16384), (64, 16, 2048)):
        x = torch.randn(batch, steps, features)
        for train in (False, True):
            torch.manual_seed(0)
            modules = {name: LRU(features, features, N, execution=name) for name in CONSTANT}
            actions = {
                name: functools.partial(step, module, x, train=train)
                for name, module in modules.items()
            }
            mode = "training" if train else "forward"
            title = f"LRU of N={N} states and H={features} features, T={steps} B={batch}, {mode}"
            show(title, timed(actions, rounds), "native", "")


def mingru(rounds: int) -> None:
    """T=1,000, B=64, H=100, ten features of the input."""
    x = torch.randn(64, 1000, 10)
    modules = {
        **{f"minGRU {e}": MinGRU(10, 100, execution=e) for e in ("native", "scan", "log")},
        "minLSTM native": MinLSTM(10, 100, execution="native"),
        "torch.nn.GRU": nn.GRU(10, 100, batch_first=True),
        "torch.nn.LSTM": nn.LSTM(10, 100, batch_first=True),
    }
    actions = {name: functools.partial(step, m, x, train=True) for name, m in modules.items()}
    title = "training step at T=1000, B=64, H=100, I=10"
    show(title, timed(actions, rounds), "torch.nn.GRU", "less than 1 for minGRU native")


def scaling(rounds: int) -> None:
    """Exponents of the time in T, by least squares over logarithms."""
    print("\nexponent of the time in T from 1,024 to 65,536, B=1, H=64 (goal 1.0 ± 0.1)")
    lengths = [1024, 4096, 16384, 65536]
    for cls in (LRU, S4D, MinGRU, MinLSTM, RGLRU, SelectiveScan):
        module = cls(64, 64, execution="native")
        for train in (False, True):
            inputs = {str(steps): torch.randn(1, steps, 64) for steps in lengths}
            actions = {
                t: functools.partial(step, module, x, train=train) for t, x in inputs.items()
            }
            seconds = [statistics.median(own) for own in timed(actions, rounds).values()]
            slope = float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])
            local = [
                math.log(after / before) / math.log(4)
                for before, after in itertools.pairwise(seconds)
            ]
            shown = ", ".join(f"{exponent:.2f}" for exponent in local)
            mode = "training" if train else "forward"
            print(f"  {cls.mathematics:10} {mode:9} {slope:.2f} (between lengths: {shown})")


def error(_: int) -> None:
    """Greatest error of the recurrence's states against extended precision, in ulp of the dtype."""
    print("\nerror of h, in ulp at its greatest number (reference: 80-bit loop), |a| and T varied")
    names = [*CONSTANT, "log"]
    print(f"  {'dtype':9} {'|a|':>7} {'T':>6} " + " ".join(f"{name:>13}" for name in names))
    for dtype in (torch.float32, torch.float64):
        for radius in (0.5, 0.9, 0.99, 0.999, 0.9999):
            for steps in (1024, 65536):
                torch.manual_seed(0)
                a = torch.full((8,), radius, dtype=dtype)
                b = torch.rand(1, steps, 8, dtype=dtype)
                exact = _extended(a.numpy(), b[0].numpy())
                found = {name: recur(a, b, None, name)[0] for name in CONSTANT}
                log_a = torch.log(a).expand_as(b)
                found["log"] = _in_logarithms(log_a, torch.log(b), None)[0]
                unit = torch.finfo(dtype).eps * float(exact.max())
                errors = [float(np.abs(found[name].numpy() - exact).max()) / unit for name in names]
                shown = " ".join(f"{value:13,.1f}" for value in errors)
                print(f"  {str(dtype)[6:]:9} {radius:7} {steps:6} {shown}")


def _extended(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The states in numpy's longdouble, of 64 bits of precision on x86."""
    h, states = np.zeros(len(a), np.longdouble), []
    for b_t in b.astype(np.longdouble):
        h = a.astype(np.longdouble) * h + b_t
        states.append(h)
    return np.stack(states)


PARTS = {part.__name__: part for part in (build, recurrence, lru, mingru, scaling, error)}


def main() -> None:
    """Run the parts named, or all of them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("parts", nargs="*", metavar="PART", choices=[[], *PARTS])
    given = options.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    for part in given.parts or PARTS:
        PARTS[part](given.rounds)


if __name__ == "__main__":
    main()
