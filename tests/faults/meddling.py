"""Models that change the process they run in: what must not reach the next one."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch


def dtype(input_size, hidden_size):
    torch.set_default_dtype(torch.float64)
    return torch.nn.LSTM(input_size, hidden_size, batch_first=True)


def everything(input_size, hidden_size):
    """Changes all that the issue names; works itself."""
    model = torch.nn.LSTM(input_size, hidden_size, batch_first=True)
    print("printed by the model\x1b]0;title\x07")
    os.write(1, b"written by the model\n")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(987)
    time.perf_counter = time.monotonic = lambda: 0.0
    torch.nn.functional.mse_loss = None
    torch.randn = None
    os.chdir("/")
    os.environ["LEFT"] = "behind"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(3600,)).start()
    sys.path.insert(0, "/left/behind")
    sys.stdout = None
    torch.set_default_device("cpu")
    return model


def leaves(input_size, hidden_size):
    sys.exit(0)


def vanishes(input_size, hidden_size):
    print("last words", flush=True)
    os._exit(0)


def dies(input_size, hidden_size):
    os.kill(os.getpid(), signal.SIGKILL)


def interrupts(input_size, hidden_size):
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)


def witness(input_size, hidden_size):
    """Fails if another model has changed anything of its process."""
    changed = {
        "dtype": torch.get_default_dtype() != torch.float32,
        "device": torch.get_default_device().type not in {"cpu", "meta"},  # meta: for counting
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads() != 1,
        "clock": any(not isinstance(c, type(len)) for c in (time.perf_counter, time.monotonic)),
        "randn": torch.randn is None,
        "loss": torch.nn.functional.mse_loss is None,
        "directory": str(Path.cwd()) == "/",
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
    return torch.nn.LSTM(input_size, hidden_size, batch_first=True)
