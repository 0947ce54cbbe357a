"""LSTM, GRU and ParaGRU parallel in time beside their loops and torch's layers.

    python tests/perf/newton.py [--rounds 3] [--steps 300] [--kind lstm] [PART …]

Parts: length (time, iterations and error over T), gain (over multiples of the recurrent weights),
trained (over the same multiples, before and after training on tasks of the suite), diagonal
(iterations of an LSTM with the diagonal of W_hh in the approximate Jacobian). Executions take
turns, in one thread; times are medians of the process's CPU time, given as ratios: below one, the
model parallel in time is faster. K* are the iterations forward, L* those backward, of the slowest
sequence, to a tolerance of 32 ulp of float32; the error is that of the output against a float64
loop, in ulp.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from benchsuite.grid.case import Case
from benchsuite.learning.trainer import train
from benchsuite.models.gru import GRU
from benchsuite.models.linear.scan import recur
from benchsuite.models.lstm import LSTM
from benchsuite.models.newton import NotConverged, before
from benchsuite.models.paragru import ParaGRU
from benchsuite.runtime.count import iterations_of
from benchsuite.tasks.task import make_task

#: Kinds, and the model that is trained in their place.
TRAINED = {"lstm": "lstm", "gru": "gru_native", "paragru": "paragru_newton"}
GAINS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def executions(kind: str, features: int, units: int) -> dict[str, nn.Module]:
    """The model parallel in time, and its baselines with the same weights."""
    first = functools.partial(_layer, kind, features, units)
    if kind == "paragru":
        found = {"newton": first("newton"), "loop": first("loop")}
    else:
        names = ("newton", "plain", *(("fused",) if kind == "lstm" else ()), "native")
        found = {name: first(name) for name in names}
        library = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        found["library"] = library(features, units, batch_first=True)
    share(found)
    return found


def _layer(kind: str, features: int, units: int, name: str) -> nn.Module:
    if kind == "paragru":
        return ParaGRU(features, units, execution=name)
    cls = {"lstm": LSTM, "gru": GRU}[kind]
    return cls(features, units, batch_first=True, variant=name)


def share(modules: Mapping[str, nn.Module], gain: float = 1.0) -> None:
    """Give all modules the weights of the first, with the recurrent ones multiplied."""
    first = next(iter(modules.values()))
    weights = {
        name: value * gain if name.endswith(("weight_hh_l0", "from_state")) else value
        for name, value in first.state_dict().items()
    }
    for module in modules.values():
        module.load_state_dict(weights)


def step(module: nn.Module, x: Tensor, *, training: bool) -> None:
    """One step of the suite's modes."""
    if training:
        module(x)[0].square().mean().backward()
        module.zero_grad(set_to_none=True)
        return
    with torch.inference_mode():
        module(x)


def seconds(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, in turns after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            start = time.process_time()
            action()
            if number:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(own) for name, own in taken.items()}


def row(modules: Mapping[str, nn.Module], x: Tensor, rounds: int) -> str:
    """K*, L*, error, and for each mode milliseconds and their ratios to the baselines."""
    newton = modules["newton"]
    (own,) = iterations_of(newton)
    try:
        step(newton, x, training=True)
        error = _error(newton, x)
    except NotConverged as reason:
        return f"failed: {reason}"
    words = [f"K* {own.forward:3} L* {own.backward:3} error {error:5.0f}"]
    for training in (False, True):
        actions = {
            name: functools.partial(step, module, x, training=training)
            for name, module in modules.items()
        }
        taken = seconds(actions, rounds)
        ratios = " ".join(
            f"{name} {taken['newton'] / own:.2f}" for name, own in taken.items() if name != "newton"
        )
        mode = "train" if training else "infer"
        words.append(f"{mode} {taken['newton'] * 1e3:8.2f} ms; to {ratios}")
    return " | ".join(words)


def _error(module: nn.Module, x: Tensor) -> float:
    """Of the output against a float64 loop with the same weights, in ulp of float32."""
    loop = copy.deepcopy(module).double()
    if isinstance(loop, ParaGRU):
        loop.execution = "loop"
    else:
        loop = type(loop)(loop.input_size, loop.hidden_size, batch_first=True).double()
        loop.load_state_dict(module.state_dict())
    with torch.no_grad():
        exact = loop(x.double())[0]
        wrong = (module(x)[0].double() - exact).abs().max()
    return float(wrong / exact.abs().max()) / torch.finfo(torch.float32).eps


def length(kinds: Sequence[str], rounds: int, _: int) -> None:
    """Over T, at H = 16 and 64, B = 1 and 8."""
    for kind in kinds:
        for units in (16, 64):
            torch.manual_seed(0)
            modules = executions(kind, units, units)
            for rows in (1, 8):
                for steps in (64, 256, 1024, 4096):
                    x = torch.randn(rows, steps, units)
                    print(f"{kind:7} H={units} B={rows} T={steps:4} {row(modules, x, rounds)}")


def gain(kinds: Sequence[str], rounds: int, _: int) -> None:
    """Over the recurrent weights, untrained, T = 1,024."""
    for kind in kinds:
        for units in (16, 64):
            x = torch.randn(1, 1024, units)
            for factor in GAINS:
                torch.manual_seed(0)
                modules = executions(kind, units, units)
                share(modules, factor)
                print(f"{kind:7} H={units} B=1 T=1024 gain {factor} {row(modules, x, rounds)}")


def trained(kinds: Sequence[str], rounds: int, optimiser_steps: int) -> None:
    """Before and after training on three tasks, with H = 32, on eight unseen rows."""
    for name in ("sine_mix", "adding", "delay"):
        for kind in kinds:
            case = Case(
                model=TRAINED[kind], seq_len=256, batch_size=32, hidden_size=32, mode="train"
            )
            task = make_task(name, seq_len=256, batch_size=32, seed=0, options={})
            for label, steps in (("before", 1), ("after", optimiser_steps)):
                recipe = dataclasses.replace(task.recipe, steps=steps)
                outcome = train(case, task, recipe)
                module = outcome.built.module.model.module
                weights = {key: value.detach() for key, value in module.state_dict().items()}
                x = task.test.x_BTF[:8].float()
                for factor in (0.5, 1.0, 2.0, 4.0):
                    modules = executions(kind, task.input_size, 32)
                    modules["newton"].load_state_dict(weights)
                    share(modules, factor)
                    shown = f"{label} ({outcome.curve[-1].error:.3g})"
                    print(f"{name:8} {kind:7} {shown:15} gain {factor} {row(modules, x, rounds)}")
                    if kind == "lstm" and factor == 1:
                        count = _with_diagonal(modules["newton"], x, terms=True)
                        print(f"{name:8} {kind:7} {shown:15} K* with the diagonal: {count}")


def diagonal(*_: object) -> None:
    """Iterations of an LSTM at T = 512 with f_t alone, and with the diagonal of W_hh.

    With it the unknown is c, and ∂c_t/∂c_{t-1} = f_t + Σ ∂c_t/∂h_{t-1} o_{t-1} (1 - tanh² c_{t-1})
    over the three gates, of each unit by itself, cut to [-1, 1].
    """
    for units in (16, 64):
        for factor in GAINS:
            torch.manual_seed(0)
            modules = executions("lstm", units, units)
            share(modules, factor)
            x = torch.randn(1, 512, units)
            counts = []
            for terms in (False, True):
                found = _with_diagonal(modules["newton"], x, terms=terms)
                counts.append(f"{found:3}" if found else f"more than {LIMIT}")
            print(f"H={units} gain {factor}: K* {counts[0]}, with the diagonal {counts[1]}")


LIMIT = 200


@torch.no_grad()
def _with_diagonal(module: nn.Module, x: Tensor, *, terms: bool) -> int | None:
    """Iterations until h changes by 32 ulp of one at most; None if there are more than `LIMIT`."""
    weights = dict(module.named_parameters())
    p = nn.functional.linear(x, weights["weight_ih_l0"])
    p = p + weights["bias_ih_l0"] + weights["bias_hh_l0"]
    w_hh = weights["weight_hh_l0"]
    w_i, w_f, w_g, _ = (block.diagonal() for block in w_hh.chunk(4))
    first = torch.zeros(len(x), module.hidden_size)
    h = c = torch.zeros(len(x), x.shape[1], module.hidden_size)
    for number in range(1, LIMIT + 1):
        h_before, c_before = before(h, first), before(c, first)
        i, f, g, o = (p + h_before @ w_hh.t()).chunk(4, -1)
        i, f, o, g = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o), torch.tanh(g)
        factors, constants = f, i * g
        if terms:
            by_h = c_before * f * (1 - f) * w_f + g * i * (1 - i) * w_i + i * (1 - g * g) * w_g
            shifted = before(o * (1 - torch.tanh(c) ** 2), first)
            factors = (f + by_h * shifted).clamp(-1, 1)
            constants = f * c_before + i * g - factors * c_before
            constants = constants + by_h * (before(o * torch.tanh(c), first) - h_before)
        c = recur(factors, constants, None, "scan")
        new = o * torch.tanh(c)
        change = float((new - h).abs().max())
        h = new
        if change <= 32 * torch.finfo(h.dtype).eps:
            return number
    return None


PARTS = {part.__name__: part for part in (length, gain, trained, diagonal)}


def main() -> None:
    """Run the parts named, or all of them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, default=300, help="optimiser steps of `trained`")
    options.add_argument("--kind", choices=list(TRAINED), help="one only")
    options.add_argument("parts", nargs="*", metavar="PART", choices=[[], *PARTS])
    given = options.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    for part in given.parts or PARTS:
        print(f"\n{part}: {(PARTS[part].__doc__ or '').splitlines()[0]}")
        PARTS[part]([given.kind] if given.kind else list(TRAINED), given.rounds, given.steps)


if __name__ == "__main__":
    main()
