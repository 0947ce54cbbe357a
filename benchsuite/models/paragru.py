r"""ParaGRU (Danieli et al. 2025, arXiv 2510.21450): a GRU whose recurrent weights are vectors.

With σ the logistic function and ⊙ the elementwise product, one step is

    z_t = σ(W_z x_t + a_z ⊙ h_{t-1} + b_z)
    r_t = σ(W_r x_t + a_r ⊙ h_{t-1} + b_r)
    n_t = tanh(W_n x_t + a_n ⊙ r_t ⊙ h_{t-1} + b_n)
    h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ n_t

A state depends on the state before of its own unit only, so that the Jacobian of a timestep is
diagonal,

    J_t = 1 - z + (n - h) ⊙ z (1 - z) ⊙ a_z + z ⊙ (1 - n²) ⊙ a_n ⊙ (r + h ⊙ r (1 - r) ⊙ a_r)

with h = h_{t-1}, and Newton's method for all timesteps at once is one linear scan an iteration:

    h_t ← J_t h_{t-1} + (F_t - J_t h°_{t-1})        F the right-hand side at the last iterate h°

It converges quadratically near the solution. For the scan, factors are cut to [-1, 1]: where
|J| > 1 the products of a long sequence would overflow, and any factors have the same solution. The
gradient is one reverse scan with J at the solution, exactly.

Initialisation: W as in `nn.Linear` (one head, a full matrix), a ~ N(0, 4/(5H)). Parameters:
3IH + 6H. Operations per timestep, elementwise ones left out: 6IH, for any number of iterations.

Shape suffixes: B batch, T timesteps, F features of the input, H states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchsuite.models import newton
from benchsuite.models.linear.scan import precise, real_state, recur, refuse_second_derivative
from benchsuite.models.newton import Iterations, System, at_least_one, before, execution_on
from benchsuite.models.recurrence import State

EXECUTIONS = ("loop", "newton")


class _Parts(NamedTuple):
    """A timestep, or all of them: its gates, and the state before."""

    z: Tensor
    r: Tensor
    n: Tensor
    h: Tensor

    @property
    def next(self) -> Tensor:
        """The state after it."""
        return self.h + self.z * (self.n - self.h)

    def jacobian(self, a_3H: Tensor) -> Tensor:
        """Of `next` by `h`."""
        z, r, n, h = self
        a_z, a_r, a_n = a_3H.chunk(3)
        of_n = z * (1 - n * n) * a_n * (r + h * r * (1 - r) * a_r)
        return 1 - z + (n - h) * z * (1 - z) * a_z + of_n


def _parts(p: Tensor, h: Tensor, a_3H: Tensor) -> _Parts:
    """From the input's part of the gates (…, 3H) and the state before (…, H)."""
    (p_z, p_r, p_n), (a_z, a_r, a_n) = p.chunk(3, -1), a_3H.chunk(3)
    z, r = torch.sigmoid(p_z + a_z * h), torch.sigmoid(p_r + a_r * h)
    return _Parts(z, r, torch.tanh(p_n + a_n * (r * h)), h)


@dataclass(slots=True)
class _Equations(System):
    """Unknown: h."""

    p_BTG: Tensor
    h_BH: Tensor
    a_3H: Tensor

    def update(self, h_BTH: Tensor | None) -> State:
        """h."""
        if h_BTH is None:
            h_BTH = self.p_BTG.new_zeros(*self.p_BTG.shape[:2], self.h_BH.shape[1])
        parts = _parts(self.p_BTG, before(h_BTH, self.h_BH), self.a_3H)
        factors = parts.jacobian(self.a_3H).clamp(-1, 1)
        constants = torch.addcmul(parts.next, factors, parts.h, value=-1)
        execution = execution_on(factors.device.type)
        return (recur(factors, constants, self.h_BH, execution, overwrite=True),)

    def rows(self, index: Tensor) -> _Equations:
        """As `System.rows`."""
        return replace(self, p_BTG=self.p_BTG[index], h_BH=self.h_BH[index])


class _Newton(torch.autograd.Function):
    """All states; saves the projected input and the states, and computes gates again."""

    @staticmethod
    def forward(ctx: Any, p_BTG: Tensor, h_BH: Tensor, a_3H: Tensor, given: Iterations) -> Tensor:
        system = _Equations(p_BTG, h_BH, a_3H)
        (h_BTH,), given.forward = newton.solve(
            system, None, at_least_one(h_BH), given, backward=False
        )
        ctx.save_for_backward(p_BTG, h_BH, a_3H, h_BTH)
        ctx.given = given
        return h_BTH

    @staticmethod
    def backward(ctx: Any, g_BTH: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("newton")
        p_BTG, h_BH, a_3H, h_BTH = ctx.saved_tensors
        parts = _parts(p_BTG, before(h_BTH, h_BH), a_3H)
        jacobian = parts.jacobian(a_3H)
        d = newton.recur_back(jacobian, g_BTH)
        ctx.given.backward = 1
        z, r, n, h = parts
        dz = d * (n - h) * z * (1 - z)
        dn = d * z * (1 - n * n)
        dr = dn * a_3H.chunk(3)[2] * h * r * (1 - r)
        da = torch.cat([(part * h).sum((0, 1)) for part in (dz, dr, dn * r)])
        return torch.cat([dz, dr, dn], -1), d[:, 0] * jacobian[:, 0], da, None


@newton.opaque
def _solved(p_BTG: Tensor, h_BH: Tensor, a_3H: Tensor, given: Iterations) -> Tensor:
    """All states by `_Newton`."""
    return _Newton.apply(p_BTG, h_BH, a_3H, given)  # type: ignore[no-any-return, no-untyped-call]


class _Layer(nn.Module):
    """One layer and direction: parameters, and the iterations of the last call."""

    def __init__(self, input_size: int, hidden_size: int, given: Iterations) -> None:
        super().__init__()
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        self.from_state = nn.Parameter(torch.empty(3 * hidden_size))
        nn.init.normal_(self.from_state, std=(4 / (5 * hidden_size)) ** 0.5)
        self.given = given

    def forward(self, x_BTF: Tensor, h_BH: Tensor, execution: str) -> Tensor:
        """(B, T, F) and a state (B, H) → (B, T, H), in float32 if the input has half precision."""
        p_BTG, a_3H = precise(self.from_input(x_BTF)), precise(self.from_state)
        if execution == "newton" and p_BTG.shape[1] > 1:
            return _solved(p_BTG, h_BH, a_3H, self.given)
        self.given.forward = self.given.backward = 0
        states = []
        for p_BG in p_BTG.unbind(1):
            h_BH = _parts(p_BG, h_BH, a_3H).next
            states.append(h_BH)
        return torch.stack(states, 1)


class ParaGRU(nn.Module):
    """(batch, time, F) and an optional state → (batch, time, D·H) and the state after it.

    The state is (L·D, batch, H), as of `torch.nn.GRU` with L layers and D directions. Half
    precision is computed in float32.

    Args:
        input_size, hidden_size, num_layers, bidirectional: As in `torch.nn.GRU`.
        execution: "loop" or "newton"; a single timestep is a step of the loop in both.
        tolerance, max_iterations: Of execution "newton", as in `newton.Iterations`.

    Raises:
        ValueError: for another execution.
    """

    mathematics = "paragru"
    executions = EXECUTIONS

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        *,
        execution: str = "newton",
        tolerance: float | None = None,
        max_iterations: int = 100,
    ) -> None:
        super().__init__()
        if execution not in EXECUTIONS:
            raise ValueError(
                f"execution = {execution!r} is not one of those of {self.mathematics}:"
                f" {', '.join(EXECUTIONS)}"
            )
        self.execution = execution
        self.hidden_size, self.directions = hidden_size, 2 if bidirectional else 1
        widths = [input_size, *[hidden_size * self.directions] * (num_layers - 1)]
        self.layers = nn.ModuleList(
            _Layer(width, hidden_size, Iterations(tolerance, max_iterations))
            for width in widths
            for _ in range(self.directions)
        )

    @property
    def iterations(self) -> tuple[Iterations, ...]:
        """Those of each layer and direction; none for a loop."""
        return tuple(layer.given for layer in self.layers) if self.execution == "newton" else ()  # type: ignore[misc]

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, F) and a state (L·D, B, H) → (B, T, D·H) and the state after it.

        Raises:
            ValueError: if the state has another shape.
            NotConverged: if a sequence needs more iterations than allowed.
        """
        shape = (len(self.layers), len(x_BTF), self.hidden_size)
        h_LBH = precise(x_BTF).new_zeros(shape) if state is None else real_state(state, shape)
        y_BTH, outputs, ends = x_BTF, [], []
        for index, layer in enumerate(self.layers):
            reverse = index % self.directions == 1
            x_BTH = y_BTH.flip(1) if reverse else y_BTH
            own = layer(x_BTH, h_LBH[index], self.execution).to(x_BTF.dtype)
            ends.append(own[:, -1])
            outputs.append(own.flip(1) if reverse else own)
            if len(outputs) == self.directions:
                y_BTH = outputs[0] if self.directions == 1 else torch.cat(outputs, -1)
                outputs = []
        return y_BTH, torch.stack(ends)

    def extra_repr(self) -> str:
        """The execution."""
        return f"execution={self.execution!r}"


def paragru_loop(
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool
) -> ParaGRU:
    """A loop over time: (batch, time, F) → (batch, time, D·H)."""
    return ParaGRU(input_size, hidden_size, num_layers, bidirectional, execution="loop")


def paragru_newton(
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool
) -> ParaGRU:
    """Parallel in time: (batch, time, F) → (batch, time, D·H)."""
    return ParaGRU(input_size, hidden_size, num_layers, bidirectional, execution="newton")
