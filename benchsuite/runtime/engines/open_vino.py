"""OpenVINO on the CPU, in float32: by itself it computes in bfloat16 where the processor can."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from benchsuite.runtime.engines import Prepared, missing
from benchsuite.runtime.engines.export import exported, refused, require_input

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.runtime.engines import Run


class OpenVino:
    """Runs the module exported to ONNX, for the latency of one request at a time."""

    def unavailable(self) -> str:
        """The package is needed."""
        return missing(openvino="2024.1")

    def prepare(self, module: nn.Module, x_BTF: Tensor, *, train: bool) -> Run:
        """Export and load the module.

        Raises:
            Unsupported: if it cannot be exported, or OpenVINO does not have its operators.
        """
        import openvino
        import torch

        model, compile_time = exported(module, x_BTF, train=train, engine="openvino")
        threads = torch.get_num_threads()
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        began = time.perf_counter()
        with refused("OpenVINO", "load"):
            loaded = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", settings)
            require_input(len(loaded.inputs))
        request = loaded.create_infer_request()
        load_time = time.perf_counter() - began

        def run(x_BTF: Tensor) -> Tensor:
            return torch.from_numpy(request.infer([x_BTF.numpy()], share_inputs=True)[0])

        with refused("OpenVINO", "run"):
            run(x_BTF)
        return Prepared(
            run=run,
            kernel="OpenVINO",
            version=f"openvino {openvino.__version__}",
            threads=int(loaded.get_property("INFERENCE_NUM_THREADS")),
            compile_time=compile_time,
            load_time=load_time,
            artifact_size=len(model),
        )
