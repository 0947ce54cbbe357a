"""The linear recurrences beside implementations published by others, with equal weights, in float64.

    pip install --no-deps --target DIR minGRU-pytorch==0.2.1 mambapy==1.2.0 s5-pytorch==0.2.1 \
        accelerated-scan==0.3.1 recurrentgemma==1.0.1 einops jaxtyping wadler-lindig \
        jax==0.10.2 jaxlib==0.10.2 ml_dtypes opt_einsum
    PYTHONPATH=DIR python tests/perf/linear_oracles.py

Prints the greatest relative difference of outputs and of gradients; packages that are not there are
left out. torch's own associative scan (combine_mode "generic", the one for CPU) stands beside them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchsuite.models.linear.lru import LRU
from benchsuite.models.linear.minimal import MinGRU, MinLSTM
from benchsuite.models.linear.rglru import RGLRU
from benchsuite.models.linear.scan import recur
from benchsuite.models.linear.selective import SelectiveScan

B, T, H = 2, 64, 8


def compare(
    name: str, own: Callable[[], Tensor], other: Callable[[], Tensor], *leaves: Tensor
) -> None:
    """Print by how much results, and gradients by the leaves of their squares' sum, differ."""
    first, second = own(), other()
    differences = [_relative(second, first)]
    if leaves:
        gradients = [torch.autograd.grad(y.square().sum(), leaves) for y in (first, second)]
        differences.append(max(map(_relative, gradients[1], gradients[0])))
    shown = ", gradients ".join(f"{difference:.1e}" for difference in differences)
    print(f"{name:56} {shown}")


def _relative(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


def minimal(package: Any) -> None:
    """minGRU and minLSTM of lucidrains, whose Linear has the candidate first and no bias."""
    del package
    for cls, name in ((MinGRU, "minGRU"), (MinLSTM, "minLSTM")):
        theirs = getattr(importlib.import_module(f"minGRU_pytorch.{name}"), name)(H).double()
        own = cls(H, H, execution="native").double()
        rows = next(theirs.parameters()).detach().chunk(cls.rows)
        with torch.no_grad():
            own.from_input.weight.copy_(torch.cat([*rows[1:], rows[0]]))
            own.from_input.bias.zero_()
        x = torch.randn(B, T, H, dtype=torch.float64, requires_grad=True)
        state = torch.rand(B, H, dtype=torch.float64) + 0.5
        _compare_minimal(name, own, theirs, x, state)


def _compare_minimal(name: str, own: Any, theirs: Any, x: Tensor, state: Tensor) -> None:
    def stepwise() -> Tensor:
        held, outputs = state.unsqueeze(1), []
        for x_t in x.split(1, 1):
            held = theirs(x_t, held)
            outputs.append(held)
        return torch.cat(outputs, 1)

    compare(f"minGRU-pytorch, {name}", lambda: own(x)[0], lambda: theirs(x), x)
    title = f"minGRU-pytorch, {name} with a state"
    compare(f"{title}, step by step", lambda: own(x, state)[0], stepwise, x)
    compare(f"{title}, at once", lambda: own(x, state)[0], lambda: theirs(x, state[:, None]), x)


def mamba(package: Any) -> None:
    """The sequential selective scan, and the parallel one, of mambapy."""
    own = SelectiveScan(H, H, execution="native").double()
    x = torch.randn(B, T, H, dtype=torch.float64, requires_grad=True)
    config = SimpleNamespace(d_inner=H, d_state=16)

    def theirs(method: str) -> Tensor:
        d, b, c = own.from_input(x).split(own.sizes, -1)
        step, A = F.softplus(own.to_step(d)), -torch.exp(own.log_A)
        scan = getattr(package.MambaBlock, method)
        return scan(SimpleNamespace(config=config), x, step, A, b, c, own.D)  # type: ignore[no-any-return]

    for method in ("selective_scan_seq", "selective_scan"):
        compare(f"mambapy, {method}", lambda: own(x)[0], lambda m=method: theirs(m), x, own.log_A)


def s5(package: Any) -> None:
    """S5's state space with LRU's λ, exp(γ) B, C and D."""
    own = LRU(H, H, execution="native").double()
    x = torch.randn(1, T, H, dtype=torch.float64, requires_grad=True)

    def theirs() -> Tensor:
        b, c = torch.view_as_complex(own.B), torch.view_as_complex(own.C)
        factor, b = own.eigenvalues(), own.gamma.exp()[:, None] * b
        y, _ = package.apply_ssm(factor, b, c, own.D, x[0])
        return y.unsqueeze(0)  # type: ignore[no-any-return]

    compare("s5-pytorch, apply_ssm", lambda: own(x)[0], theirs, x, own.nu, own.theta, own.B, own.C)


def _varying() -> tuple[Tensor, Tensor]:
    a = torch.rand(B, T, H, dtype=torch.float64).requires_grad_()
    return a, torch.randn(B, T, H, dtype=torch.float64).requires_grad_()


def accelerated(package: Any) -> None:
    """The reference in torch of accelerated-scan, over (B, D, T)."""
    a, b = _varying()

    def theirs() -> Tensor:
        h: Tensor = package.scan(a.transpose(1, 2).contiguous(), b.transpose(1, 2).contiguous())
        return h.transpose(1, 2)

    compare("accelerated-scan, ref.scan", lambda: recur(a, b, None, "native"), theirs, a, b)


def torchs(package: Any) -> None:
    """torch's associative scan."""
    a, b = _varying()

    def combine(one: Any, other: Any) -> Any:
        return other[0] * one[0], other[0] * one[1] + other[1]

    def theirs() -> Tensor:
        return package.associative_scan(combine, (a, b), dim=1, combine_mode="generic")[1]  # type: ignore[no-any-return]

    name = f"torch {torch.__version__}, associative_scan (generic)"
    compare(name, lambda: recur(a, b, None, "native"), theirs, a, b)


def jax(package: Any) -> None:
    """jax's associative scan of real and of complex numbers, with its own gradients."""
    package.config.update("jax_enable_x64", True)
    numpy = importlib.import_module("jax.numpy")

    def combine(one: Any, other: Any) -> Any:
        return other[0] * one[0], other[0] * one[1] + other[1]

    def energy(a: Any, b: Any) -> Any:
        h = package.lax.associative_scan(combine, (a, b), axis=1)[1]
        return (numpy.abs(h) ** 2).sum(), h

    real = _varying()
    phase = torch.rand(B, T, H, dtype=torch.float64) * 6
    waves = (torch.polar(real[0].detach(), phase), torch.polar(real[1].detach().abs(), phase))
    for name, (a, b) in {"real": real, "complex": waves}.items():
        leaves = a.detach().requires_grad_(), b.detach().requires_grad_()
        h = recur(*leaves, None, "native")
        own = torch.autograd.grad((h.abs() ** 2).sum(), leaves)
        arrays = [leaf.detach().numpy() for leaf in leaves]
        gradients, expected = package.grad(energy, (0, 1), has_aux=True)(*arrays)
        # jax's gradient by a complex number is the conjugate of torch's.
        theirs = [torch.from_numpy(numpy.asarray(g.conj()).__array__().copy()) for g in gradients]
        values = _relative(h, torch.from_numpy(expected.__array__().copy()))
        worst = max(map(_relative, own, theirs))
        print(
            f"{f'jax {package.__version__}, lax.associative_scan, {name}':56} {values:.1e}", end=""
        )
        print(f", gradients {worst:.1e}")


def griffin() -> None:
    """The RG-LRU of recurrentgemma, in torch; it accumulates in float32."""
    for name in ("recurrentgemma", "recurrentgemma.torch"):  # whose own imports need much more
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError("No module named 'recurrentgemma'")
        bare = ModuleType(name)
        bare.__path__ = list(spec.submodule_search_locations or ())
        bare.__spec__ = spec
        sys.modules[name] = bare
    theirs = importlib.import_module("recurrentgemma.torch.layers").RGLRU(H, 2)
    own = RGLRU(H, H, heads=2, execution="native")
    with torch.no_grad():
        own.weight.copy_(torch.cat([theirs.a_gate.w, theirs.input_gate.w], -1))
        own.bias.normal_()
        theirs.a_gate.b.copy_(own.bias[0].view_as(theirs.a_gate.b))
        theirs.input_gate.b.copy_(own.bias[1].view_as(theirs.input_gate.b))
        own.Lambda.copy_(theirs.a_param)
    x = torch.randn(B, T, H, requires_grad=True)
    state = torch.randn(B, H)
    positions = torch.arange(T).expand(B, T)
    title = "recurrentgemma, torch RGLRU (float32)"
    compare(title, lambda: own(x)[0], lambda: theirs(x, positions)[0], x)
    later = positions + 1
    compare(f"{title}, state", lambda: own(x, state)[0], lambda: theirs(x, later, state)[0], x)


ORACLES = {
    "minGRU_pytorch": minimal,
    "mambapy.mamba": mamba,
    "s5.s5_model": s5,
    "accelerated_scan.ref": accelerated,
    "torch._higher_order_ops": torchs,
    "jax": jax,
}


def main() -> None:
    """Compare with every package that is there."""
    torch.manual_seed(0)
    for name, oracle in ORACLES.items():
        try:
            package = importlib.import_module(name)
        except ImportError as error:
            print(f"{name:56} left out: {error}")
            continue
        oracle(package)
    try:
        griffin()
    except ImportError as error:
        print(f"{'recurrentgemma':56} left out: {error}")


if __name__ == "__main__":
    main()
