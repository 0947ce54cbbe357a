"""Category of an operator or kernel, by its name, and its work, by its shapes.

A step's time is divided into categories. Work is counted where it follows from the shapes: floating
point operations of products, convolutions, library recurrences (1 MAC = 2 FLOP) and Fourier
transforms (5·N·log₂N, half of it for real ones), and for all others the bytes of their arguments,
as each is read at least once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

#: Categories, in the order in which they are reported.
CATEGORIES = (
    "python",
    "dispatch",
    "matmul",
    "convolution",
    "recurrence",
    "pointwise",
    "reduction",
    "memory",
    "transform",
    "other",
)
#: Categories that do no arithmetic of the model: the cost of calling.
CALLING = frozenset({"python", "dispatch"})

_PATTERNS = (
    # Views, wrappers of other operators, and autograd's bookkeeping.
    (
        "dispatch",
        r"autograd::|AccumulateGrad|(Backward\d*|Grad)$|^(cuda|cu|hip)[A-Z]|^Optimizer\."
        r"|aten::(t|transpose|permute|as_strided|view|_unsafe_view|reshape|expand|expand_as|select"
        r"|slice|narrow|chunk|split|split_with_sizes|unbind|squeeze|unsqueeze|detach|detach_|alias"
        r"|empty|empty_like|empty_strided|resize_|result_type|to|contiguous|linear|matmul|lstm|gru"
        r"|conv1d|conv2d|convolution|_convolution|square|numpy_T|is_nonzero|item|unflatten"
        r"|lift_fresh|resolve_conj|resolve_neg|new_zeros|new_empty|zeros|ones|zeros_like|ones_like"
        r"|stack|concat|pad|_nnpack_available|detach_copy|view_as|movedim|fft_\w+)$",
    ),
    ("recurrence", r"benchsuite::|rnn|lstm|gru|LSTM|GRU|RNN"),
    ("convolution", r"conv|Conv|im2col|col2im|cudnn.*(wgrad|dgrad|fprop)|implicit_gemm"),
    (
        "matmul",
        r"aten::(mm|addmm|bmm|baddbmm|addbmm|mv|addmv|dot|_addmm_activation|mkldnn_linear"
        r"|_scaled_mm)(_|\.|$)|gemm|gemv|cutlass|nvjet|xmma|mkldnn::_linear|splitK",
    ),
    ("transform", r"aten::_fft_|(regular|vector|real)_fft|(pre|post)processC2C|spRadix|dpRadix"),
    (
        "memory",
        r"aten::(copy_|_to_copy|clone|cat|fill_|zero_|constant_pad_nd|index|index_select|gather"
        r"|scatter\w*|flip|roll|repeat|_foreach_copy_|select_backward|slice_backward)$"
        r"|[Mm]em(cpy|set)|CatArray|copy_kernel|FillFunctor|direct_copy",
    ),
    ("reduction", r"aten::(sum|mean|norm|prod|max|min|argmax|linalg_vector_norm|cumsum)|reduce"),
    ("pointwise", r"elementwise|aten::[a-z_0-9]+$|vectorized"),
)
_RULES = tuple((category, re.compile(pattern)) for category, pattern in _PATTERNS)


@lru_cache(maxsize=4096)
def category_of(name: str) -> str:
    """The category of an operator ("aten::addmm") or kernel, by its name."""
    return next((category for category, rule in _RULES if rule.search(name)), "other")


#: Library by a pattern in the names of operators and kernels; the first that matches counts.
_LIBRARIES = (
    ("Triton", re.compile(r"benchsuite::\w+_triton|lstm_(forward|backward)_(resident|tiled)")),
    ("native", re.compile(r"benchsuite::")),
    ("cuDNN", re.compile(r"cudnn|RNN_blockPersist|elemWiseRNN|LSTM_elementWise")),
    ("oneDNN", re.compile(r"mkldnn|onednn", re.IGNORECASE)),
    ("MIOpen", re.compile(r"miopen", re.IGNORECASE)),
    ("cuBLAS", re.compile(r"gemm|gemv|cutlass|nvjet|xmma|cublas|splitK")),
)


def library_of(name: str, *, kernel: bool) -> str:
    """The library that an operator or kernel belongs to, such as "oneDNN", "cuDNN" or "ATen".

    Args:
        name: Name of the operator or kernel.
        kernel: Whether it ran on a device.
    """
    for library, rule in _LIBRARIES:
        if rule.search(name):
            return library
    return "BLAS" if not kernel and category_of(name) == "matmul" else "ATen"


_SIZES = {
    "double": 8,
    "long": 8,
    "int64": 8,
    "float": 4,
    "int": 4,
    "c10::half": 2,
    "c10::bfloat16": 2,
    "bool": 1,
    "unsigned char": 1,
    "signed char": 1,
}

Dims = Sequence[Any]


def argument_bytes(dims: Dims, types: Sequence[str]) -> int:
    """Bytes of all tensor arguments; an unknown type counts as four bytes per element."""
    total = 0
    for shape, kind in zip(dims, types, strict=False):
        if not shape:
            continue
        if isinstance(shape[0], list):  # a list of tensors, as `cat` has
            total += sum(4 * math.prod(part) for part in shape)
        else:
            total += math.prod(shape) * _SIZES.get(str(kind).lower(), 4)
    return total


def flops(name: str, dims: Dims) -> int:
    """Floating-point operations of one call, or 0 where they do not follow from the shapes.

    Args:
        name: Name of the operator.
        dims: Shapes of its arguments, empty for each that is not a tensor.
    """
    try:
        return int(_flops(name, dims))
    except (IndexError, TypeError, ValueError):
        return 0  # a trace of another tool may have any shapes


def _flops(name: str, dims: Dims) -> Any:
    if name in {"aten::mm", "aten::bmm"}:
        return 2 * math.prod(dims[0]) * dims[1][-1]
    if name in {"aten::addmm", "aten::baddbmm", "aten::_addmm_activation"}:
        return 2 * math.prod(dims[1]) * dims[2][-1]
    if "rnn_layer" in name or "_cudnn_rnn" in name:
        # input (T, B, I), then the weights (rows, columns): each is used once per timestep.
        steps = dims[0][0] * dims[0][1]
        flat = [s for d in dims[1:] for s in ([d] if d and not isinstance(d[0], list) else d or [])]
        weights = [s for s in flat if len(s) == 2][:2]
        return (4 if "backward" in name else 2) * steps * sum(map(math.prod, weights))
    if name.startswith("aten::_fft_"):  # along the last dimension, as over time in (B, C, T)
        half = name.endswith("c2r")
        points = 2 * (dims[0][-1] - 1) if half else dims[0][-1]
        each = (5 if name.endswith("c2c") else 2.5) * points * math.log2(points)
        return math.prod(dims[0][:-1]) * each
    if name in {"aten::convolution_backward"}:  # gradient (B, C', T), input, weight (C', C, k)
        return 4 * dims[0][0] * math.prod(dims[0][2:]) * math.prod(dims[2])
    if category_of(name) == "convolution" and name.startswith("aten::"):
        # Padding is done before in causal layers: all but the last taps of the input are outputs.
        return 2 * dims[0][0] * math.prod(dims[0][2:]) * math.prod(dims[1])
    return 0
