"""A module as an ONNX model, for the engines that deploy one.

The exporter is torch's tracing one (`dynamo=False`): of the two it is the one that takes recurrent
layers and unrolled loops in a second, and needs no other package. What it has traced is checked by
the workload, which compares outputs on another input: a trace follows one way through Python whose
branches depend on data.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Version of ONNX's set of operators.
_OPSET = 17


def exported(module: nn.Module, x_BTF: Tensor, *, train: bool, engine: str) -> tuple[bytes, float]:
    """Export a module for inputs of the example's shape.

    Args:
        module: A module on the CPU, in float32.
        x_BTF: An example input.
        train: Whether the case trains, which is refused.
        engine: The engine's name, for messages.

    Returns:
        The ONNX model, and the seconds that this took.

    Raises:
        Unsupported: for mode train, another device or dtype, and a module that cannot be exported.
    """
    import torch

    if train:
        raise Unsupported(f"{engine} runs exported models, which cannot train; use mode=infer")
    if x_BTF.device.type != "cpu":
        raise Unsupported(f"{engine} is used on the CPU only; use device=cpu")
    if x_BTF.dtype != torch.float32:
        dtype = str(x_BTF.dtype).removeprefix("torch.")
        raise Unsupported(f"{engine} is used in float32 only, not in {dtype}; use dtype=float32")
    began = time.perf_counter()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="benchsuite-") as directory,
            torch.no_grad(),
            warnings.catch_warnings(),
            _silent(),
        ):
            warnings.simplefilter("ignore")  # about the tracer, and branches over shapes
            path = Path(directory) / "model.onnx"
            torch.onnx.export(
                module,
                (x_BTF,),
                path,
                dynamo=False,
                opset_version=_OPSET,
                input_names=["x"],
                output_names=["y"],
            )
            model = path.read_bytes()
    except MemoryError:
        raise
    except Exception as error:
        reason = one_line(error, 160).partition(". ")[0]
        raise Unsupported(
            f"it cannot be exported to ONNX: {reason}; use engine=eager or compile"
        ) from None
    return model, time.perf_counter() - began


@contextmanager
def _silent() -> Iterator[None]:
    """Discard what is written to standard output, where the exporter prints a graph that fails."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def require_input(found: int) -> None:
    """Raise `Unsupported` for an exported model that has no input.

    Operators that write into given buffers leave no trace, so that the output is a constant.
    """
    if not found:
        raise Unsupported(
            "its ONNX model does not depend on the input: the trace has lost operators that write"
            " into buffers or a custom autograd function; use engine=eager or compile"
        )


@contextmanager
def refused(library: str, verb: str) -> Iterator[None]:
    """Raise `Unsupported` for what a library raises in this context, other than lack of memory.

    Args:
        library: Its name, for the message.
        verb: What it does here: "load" or "run".
    """
    try:
        yield
    except (MemoryError, Unsupported):
        raise
    except Exception as error:
        raise Unsupported(
            f"{library} cannot {verb} it: {one_line(error, 200)}; use another engine"
        ) from None
