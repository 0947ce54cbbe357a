"""Models from outside that fail in every way a benchmark process can."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch


class _Faulty(torch.nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, x):
        self.fault()
        return x


def killed():
    """Ends as if by the kernel's out-of-memory killer."""
    return _Faulty(lambda: os.kill(os.getpid(), signal.SIGKILL))


def segfault():
    return _Faulty(lambda: os.kill(os.getpid(), signal.SIGSEGV))


def hangs():
    return _Faulty(lambda: time.sleep(600))


def raises():
    def fault():
        raise ZeroDivisionError("planted\nover two lines")

    return _Faulty(fault)


def too_much():
    return _Faulty(lambda: torch.empty(1 << 50))


class _Gated(torch.nn.Module):
    def forward(self, x):
        gate = os.environ.get("FAULTY_GATE", "")
        while x.shape[:2] == (2, 8) and gate and Path(gate).exists():
            time.sleep(0.05)
        return x


def gated():
    """Waits at the fourth of the cases for as long as the gate exists: time to interrupt it."""
    return _Gated()


def slow():
    return _Faulty(lambda: time.sleep(0.05))
