"""ONNX Runtime on the CPU, in float32 or with weights and activations of 8 bits."""

from __future__ import annotations

import logging
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import Unsupported
from benchsuite.runtime.engines import Prepared, missing
from benchsuite.runtime.engines.export import exported, refused, require_input

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.runtime.engines import Run

#: Parts of the names of operators that a quantised model has.
_QUANTISED = ("Integer", "Quantize")


class OnnxRuntime:
    """Runs the exported module, all graph optimisations on, operators one after another."""

    name = "onnxruntime"

    def unavailable(self) -> str:
        """The package is needed."""
        return missing(onnxruntime="1.20")

    def prepare(self, module: nn.Module, x_BTF: Tensor, *, train: bool) -> Run:
        """Export and load the module.

        Raises:
            Unsupported: if it cannot be exported, or ONNX Runtime does not have its operators.
        """
        import torch

        model, compile_time = exported(module, x_BTF, train=train, engine=self.name)
        began = time.perf_counter()
        model = self.converted(model)
        compile_time += time.perf_counter() - began
        threads = torch.get_num_threads()
        began = time.perf_counter()
        with refused("ONNX Runtime", "load"):
            session = _session(model, threads)
            require_input(len(session.get_inputs()))
        load_time = time.perf_counter() - began

        def run(x_BTF: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"x": x_BTF.numpy()})[0])

        with refused("ONNX Runtime", "run"):
            run(x_BTF)

        return Prepared(
            run=run,
            kernel="ONNX Runtime",
            version=f"onnxruntime {version('onnxruntime')}",
            threads=session.get_session_options().intra_op_num_threads,
            compile_time=compile_time,
            load_time=load_time,
            artifact_size=len(model),
        )

    def converted(self, model: bytes) -> bytes:
        """The model to load: the exported one."""
        return model


class OnnxRuntimeInt8(OnnxRuntime):
    """The same with weights quantised to 8 bits, and activations as they come (dynamically).

    Weights take 7 of the 8 bits (`reduce_range`): processors without VNNI add products of 8 bits in
    16, where full weights overflow. An LSTM of 64 units was wrong by 0.33 of its greatest output
    there, and by 0.014 with reduced ones.
    """

    name = "onnxruntime_int8"

    def unavailable(self) -> str:
        """The package of ONNX itself is needed too."""
        return missing(onnxruntime="1.20", onnx="1.16")

    def converted(self, model: bytes) -> bytes:
        """The exported model, quantised.

        Raises:
            Unsupported: if it has no operator that can be.
        """
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory(prefix="benchsuite-") as directory:
            path = Path(directory) / "model.onnx"
            logging.disable(logging.WARNING)  # about integer tensors that stay as they are
            try:
                quantize_dynamic(
                    onnx.load_from_string(model),
                    path,
                    weight_type=QuantType.QInt8,
                    reduce_range=True,
                )
            finally:
                logging.disable(logging.NOTSET)
            quantised = path.read_bytes()
        operators = {node.op_type for node in onnx.load_from_string(quantised).graph.node}
        if not any(part in operator for operator in operators for part in _QUANTISED):
            raise Unsupported(
                "ONNX Runtime has no 8-bit form of any of its operators; use engine=onnxruntime"
            )
        return quantised


def _session(model: bytes, threads: int) -> Any:
    """A session that runs on the CPU, on that many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
