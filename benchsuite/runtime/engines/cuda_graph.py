"""CUDA graphs: the launches of a step recorded once, and replayed as one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchsuite import host
from benchsuite.errors import Unsupported, described
from benchsuite.runtime.engines import Prepared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.runtime.engines import Run


class CudaGraph:
    """Captures the module's forward pass, in mode train its backward pass too.

    The output of a call is overwritten by the next one.
    """

    def unavailable(self) -> str:
        """A CUDA device is needed."""
        return host.cuda_problem()

    def prepare(self, module: nn.Module, x_BTF: Tensor, *, train: bool) -> Run:
        """Capture the module on the example's shape.

        Raises:
            Unsupported: on another device, and for a module that cannot be captured: one that
                waits for the device, or allocates memory of another kind.
        """
        from benchsuite.runtime import device

        if x_BTF.device.type != "cuda":
            raise Unsupported("CUDA graphs need a CUDA device; add -a device=cuda")
        began = time.perf_counter()
        try:
            run = device.graphed(module, x_BTF, train=train)
        except device.OutOfMemory:
            raise
        except RuntimeError as error:
            raise Unsupported(
                f"it cannot be captured in a CUDA graph: {described(error, 200)}"
            ) from None
        device.synchronize(x_BTF.device)
        return Prepared(
            run=run,
            kernel="CUDA graph",
            version="",
            threads=1,
            compile_time=time.perf_counter() - began,
        )
