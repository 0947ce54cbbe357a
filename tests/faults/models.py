"""Models that bring their process, or the processes around it, to an end."""

from __future__ import annotations

import json
import mmap
import os
import signal
import time
from pathlib import Path

import torch


class _Does(torch.nn.Module):
    def __init__(self, fault, batch=2):
        super().__init__()
        self.fault, self.batch = fault, batch

    def forward(self, x):
        if x.shape[0] == self.batch or x.shape[1] == self.batch:
            self.fault()
        return x


def gated():
    """Waits at batch size 2 until the gate is open (see `tools.Project`)."""
    gate = Path(os.environ["FAULT_GATE"])

    def fault():
        (gate / "reached").touch()
        while not (gate / "open").exists():
            time.sleep(0.02)

    return _Does(fault)


def kills_its_group():
    return _Does(lambda: os.killpg(0, signal.SIGKILL))


def fills_shared_memory():
    """Takes memory that RLIMIT_DATA does not count, as a driver or a shared tensor does."""

    def fault():
        size = 600 << 20
        block = mmap.mmap(-1, size)
        for start in range(0, size, 1 << 20):
            block[start : start + (1 << 20)] = b"x" * (1 << 20)

    return _Does(fault)


def ends_badly():
    """Its process fails after the record is written, where asv's result would be."""

    def refuse(*_):
        raise OSError("no result for asv")

    json.dump = refuse
    return _Does(lambda: None)
