"""Engines, which run modules that are already built: one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchsuite.catalog.registry import Registry, resolve


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine.

    Attributes:
        name: The value of the axis `engine`.
        target: `module:class`; the class has the methods of `runtime.engines.Engine`.
        summary: A description in one line.
        package: The distribution, besides torch, whose version decides what it does; a new version
            is measured again.
    """

    name: str
    target: str
    summary: str
    package: str = ""

    def factory(self) -> Callable[..., Any]:
        """Import the class."""
        return resolve(self.target)  # type: ignore[no-any-return]


_E = "benchsuite.runtime.engines"

ENGINES = Registry(
    "engine",
    [
        EngineSpec("eager", f"{_E}.eager:Eager", "PyTorch, operator by operator"),
        EngineSpec(
            "compile",
            f"{_E}.compiled:Compiled",
            "torch.compile with inductor, for the very shape; needs a C++ compiler on the CPU",
        ),
        EngineSpec(
            "cudagraph",
            f"{_E}.cuda_graph:CudaGraph",
            "CUDA graphs of the forward pass and, in mode train, the backward pass",
        ),
        EngineSpec(
            "onnxruntime",
            f"{_E}.onnx_runtime:OnnxRuntime",
            "ONNX Runtime on the CPU, inference in float32",
            "onnxruntime",
        ),
        EngineSpec(
            "onnxruntime_int8",
            f"{_E}.onnx_runtime:OnnxRuntimeInt8",
            "ONNX Runtime on the CPU, with weights quantised to 8 bits (dynamic quantisation)",
            "onnxruntime",
        ),
        EngineSpec(
            "openvino",
            f"{_E}.open_vino:OpenVino",
            "OpenVINO on the CPU, inference in float32",
            "openvino",
        ),
    ],
)
