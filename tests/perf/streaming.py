"""Print what a call of a stream costs: convolutions beside their bare products, and recurrences.

    python tests/perf/streaming.py [--field 512] [--hidden 64] [--batch 1] [--rounds 60]

Rounds alternate between all subjects, so that a ratio compares calls of the same moment: it is the
median over rounds of the ratio of two medians of 20 calls. Times are those of the thread on a
processor, since on a busy machine a longer call is interrupted more often. "bare convolutions" are those of a TCN
for one output each: `conv1d` over the k inputs that it depends on, with nothing in between.

The cost of a sample is what `step_latency` adds to a call: two readings of the clock, and storing
their difference.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchsuite.models.conv import CausalConv1d
from benchsuite.runtime.build import Sizes, build
from benchsuite.runtime.streams import stream_of

_CALLS = 20
_MODELS = (
    *("lstm", "lstm_native", "gru", "gru_native", "lru_native", "mingru_native"),
    *("tcn", "tcn_separable", "wavenet"),
)


def _bare(sizes: Sizes, batch: int) -> Callable[[], object]:
    parts = [p for p in build("tcn", sizes).modules() if isinstance(p, CausalConv1d)]
    calls = [
        (torch.randn(batch, p.in_channels, *p.kernel_size), p.weight.detach(), p.bias)
        for p in parts
    ]

    def run() -> None:
        for x_BCK, weight, bias in calls:
            F.conv1d(x_BCK, weight, bias)

    return run


def _stream(name: str, sizes: Sizes, batch: int) -> Callable[[], object]:
    stream = stream_of(build(name, sizes).eval(), torch.randn(batch, 4, sizes.input_size))
    x_BTF = torch.randn(batch, 1, sizes.input_size)
    return lambda: stream.feed(x_BTF)


def _seconds(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(_CALLS):
        start = time.thread_time_ns()
        call()
        taken.append(time.thread_time_ns() - start)
    return statistics.median(taken) / 1e9


def _sample_cost() -> float:
    """Seconds that timing an empty call adds to it."""
    from benchsuite.measures.streaming import timed_calls

    calls = 100_000
    start = time.perf_counter()
    for _ in range(calls):
        pass
    empty = time.perf_counter() - start
    start = time.perf_counter()
    timed_calls(lambda: None, calls)
    return (time.perf_counter() - start - empty) / calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--field", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(options.hidden, options.hidden, 1, bidirectional=False, seq_len=options.field)
    with torch.inference_mode():
        subjects = {"bare convolutions": _bare(sizes, options.batch)}
        subjects |= {name: _stream(name, sizes, options.batch) for name in _MODELS}
        for call in subjects.values():
            _seconds(call)
        rounds = [
            {name: _seconds(call) for name, call in subjects.items()} for _ in range(options.rounds)
        ]
    print(f"field {options.field}, H {options.hidden}, B {options.batch}, one timestep a call,")
    print(f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'':18s}{'median':>10s}{'fastest':>10s}   ratio to bare convolutions and to lstm")
    for name in subjects:
        taken = [result[name] for result in rounds]
        ratios = [
            _quartiles([result[name] / result[to] for result in rounds])
            for to in ("bare convolutions", "lstm")
        ]
        print(
            f"{name:18s}{1e6 * statistics.median(taken):7.1f} µs{1e6 * min(taken):7.1f} µs   "
            + "   ".join(ratios)
        )
    cost = min(_sample_cost() for _ in range(5))
    lstm = min(result["lstm"] for result in rounds)
    print(f"a sample's cost {1e9 * cost:.0f} ns: {cost / lstm:.2%} of the fastest lstm call")


def _quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:5.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
