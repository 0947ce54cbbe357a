"""torch.compile with its compiler inductor: C++ on the CPU, Triton on CUDA.

A module is compiled for the very shape of
the case, in an empty cache directory that is removed afterwards, by one process, so that the time
depends on no earlier case. The C++ headers of torch are precompiled before, since that happens once
for all modules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported, described
from benchsuite.runtime.engines import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchsuite.runtime.engines import Run

#: C++ compilers that inductor knows, besides the one that `CXX` names.
_COMPILERS = ("g++", "clang++")
_FIX = "install one, such as by `apt-get install g++`, or let CXX name one"


class Compiled:
    """Compiles the module by `torch.compile(module, dynamic=False)`."""

    def unavailable(self) -> str:
        """A C++ compiler is needed, or Triton for CUDA."""
        if _compiler() or find_spec("triton"):
            return ""
        return f"torch.compile needs a C++ compiler; {_FIX}"

    def prepare(self, module: nn.Module, x_BTF: Tensor, *, train: bool) -> Run:
        """Compile the module, which its first step does.

        Raises:
            Unsupported: if there is no compiler for the device, the module cannot be compiled, or
                no part of it is compiled, as of `torch.nn.LSTM` alone.
        """
        import torch
        import torch._dynamo
        from torch._inductor import config
        from torch._inductor.utils import fresh_cache

        compiler = _compiler()
        if x_BTF.device.type == "cpu":
            if not compiler:
                raise Unsupported(f"torch.compile needs a C++ compiler on the CPU; {_FIX}")
            config.cpp.cxx = (None, compiler)
        elif not find_spec("triton"):
            raise Unsupported("torch.compile needs Triton on CUDA; `pip install triton`")
        config.compile_threads = 1  # more would be processes, which outlive a case that is killed
        torch._dynamo.reset()
        with fresh_cache():
            _precompile_headers(x_BTF)
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compiled: Callable[[Tensor], Tensor] = torch.compile(module, dynamic=False)
        began = time.perf_counter()
        try:
            with fresh_cache():
                _step(compiled, module, x_BTF, train=train)
        except MemoryError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith("torch."):
                raise  # the module's own
            raise Unsupported(f"torch.compile cannot compile it: {described(error, 200)}") from None
        seconds = time.perf_counter() - began
        if not torch._dynamo.utils.counters["stats"]["unique_graphs"]:
            breaks = torch._dynamo.utils.counters["graph_break"]
            why = next(iter(breaks), "no operators were found").splitlines()[0]
            raise Unsupported(
                f"torch.compile leaves all of it to eager PyTorch ({why}); measure engine=eager"
            )
        return Prepared(
            run=compiled,
            kernel="Inductor",
            version=_version(compiler) if x_BTF.device.type == "cpu" else "",
            threads=torch.get_num_threads(),
            compile_time=seconds,
        )


def _compiler() -> str:
    """The C++ compiler; empty if there is none."""
    names = filter(None, (os.environ.get("CXX"), *_COMPILERS))
    return next((name for name in names if shutil.which(name)), "")


def _version(compiler: str) -> str:
    """The first line of the compiler's own description."""
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [compiler])[0]


def _precompile_headers(x_BTF: Tensor) -> None:
    """Compile a function of one operator."""
    import torch

    def plus_one(x: Tensor) -> Tensor:
        return x + 1

    with torch.inference_mode():
        torch.compile(plus_one, dynamic=False)(x_BTF[:1, :1].clone())


def _step(run: Run, module: nn.Module, x_BTF: Tensor, *, train: bool) -> None:
    """One step in the mode of the case, which compiles all that later steps run."""
    import torch

    if train:
        run(x_BTF).square().mean().backward()
        module.zero_grad(set_to_none=True)
    else:
        with torch.inference_mode():
            run(x_BTF)
    if x_BTF.is_cuda:
        x_BTF.sum().item()  # waits for the device
