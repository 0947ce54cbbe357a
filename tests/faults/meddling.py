"""Models that change or end the process they run in: what must not reach the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch


def _model(input_size, hidden_size):
    return torch.nn.LSTM(input_size, hidden_size, batch_first=True)


def dtype(input_size, hidden_size):
    torch.set_default_dtype(torch.float64)
    return _model(input_size, hidden_size)


def everything(input_size, hidden_size):
    """Changes all that `witness` looks at, once its module is made."""
    model = _model(input_size, hidden_size)
    print("printed by the model\x1b]0;title\x07")
    os.write(1, b"written by the model\n")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_grad_enabled(mode=False)
    torch.manual_seed(987)
    torch.set_default_device("cuda:0")
    time.perf_counter = time.monotonic = lambda: 0.0
    torch.nn.functional.mse_loss = None
    torch.randn = None
    os.chdir("/")
    os.umask(0o777)
    os.environ["LEFT"] = "behind"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(3600,)).start()
    sys.path.insert(0, "/left/behind")
    sys.stdout = sys.stderr = None
    return model


def witness(input_size, hidden_size):
    """Fails, and names what another model has changed of its process."""
    changed = {
        "dtype": torch.get_default_dtype() != torch.float32,
        "device": torch.get_default_device().type == "cuda",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": not torch.is_grad_enabled(),
        "seed": torch.initial_seed() == 987,
        "threads": torch.get_num_threads() == 2,
        "clock": any(not isinstance(c, type(len)) for c in (time.perf_counter, time.monotonic)),
        "randn": torch.randn is None,
        "loss": torch.nn.functional.mse_loss is None,
        "directory": str(Path.cwd()) == "/",
        "umask": _umask() == 0o777,
        "environment": "LEFT" in os.environ,
        "signal": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
        "thread": any(
            getattr(thread, "_target", None) is time.sleep for thread in threading.enumerate()
        ),
        "path": "/left/behind" in sys.path,
        "output": sys.stdout is None,
    }
    if any(changed.values()):
        raise RuntimeError(", ".join(name for name in changed if changed[name]))
    return _model(input_size, hidden_size)


def _umask():
    os.umask(mask := os.umask(0o077))
    return mask


def leaves(input_size, hidden_size):
    sys.exit(0)


def vanishes(input_size, hidden_size):
    print("last words", flush=True)
    os._exit(0)


def crashes(input_size, hidden_size):
    os.kill(os.getpid(), signal.SIGSEGV)


def asks_for_too_much(input_size, hidden_size):
    return torch.empty(1 << 50)


def kills_its_group(input_size, hidden_size):
    os.killpg(0, signal.SIGKILL)


def interrupts(input_size, hidden_size):
    """SIGINT to the process that started this one, which is not for it."""
    os.kill(os.getppid(), signal.SIGINT)
    return _model(input_size, hidden_size)


def leaves_a_process(input_size, hidden_size):
    subprocess.Popen(["sleep", "3600"])
    return _model(input_size, hidden_size)


def returns_twice(input_size, hidden_size):
    os.fork()
    return _model(input_size, hidden_size)


class _Waits(torch.nn.Module):
    """Starts a process, and waits when it is trained."""

    def forward(self, x):
        if x.requires_grad or self.training:
            subprocess.Popen(["sleep", "3600"])
            time.sleep(3600)
        return x


def waits(input_size, hidden_size):
    return _Waits()
