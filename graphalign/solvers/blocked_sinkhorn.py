r"""Sinkhorn rounds on scores that are not written out, and the plan that they give, which is not written out either.

With $z = S / \tau$, bordered by slack, the plan is $X = \exp(z + f + g)$. Blocks of rows of $z$ are computed when they
are needed, in the forward and in the backward pass; what is kept is features and potentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..factors import MOST_WRITTEN, Factors
from ..vector import NodeEdge
from .potentials import LOG_ZERO, shut

# Numbers in one block of rows.
AT_ONCE = 2**22
# Of the linear system of the gradient: most steps of conjugate gradients, and the power of the unit roundoff that is
# the error at which they stop.
STEPS, POWER = 200, 0.75


@dataclass(frozen=True)
class BlockedKernel:
    """The exponents $z$ by blocks of rows, with a slack row and column where `alone` holds their scores.

    Args:
        factors: Scores.
        tau: Temperature.
        alone: Scores of rows and columns with the slack, or None without slack.
        forbidden: Sorted numbers `row * m + column` of pairs that have no mass, long `(k,)`, or None.
    """

    factors: Factors
    tau: float
    alone: tuple[Tensor, Tensor] | None
    forbidden: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, slack included."""
        n, m = self.factors.frame.shape
        return (n, m) if self.alone is None else (n + 1, m + 1)

    def parts(self) -> Iterator[slice]:
        """Blocks of rows that hold `AT_ONCE` numbers each."""
        n, m = self.shape
        step = max(1, AT_ONCE // m)
        for first in range(0, n, step):
            yield slice(first, min(first + step, n))

    def block(self, part: slice) -> Tensor:
        """Return some rows of $z$; differentiable in features and terms."""
        f, n = self.factors, len(self.factors.x)
        terms = None if f.row_terms is None else f.row_terms[part]
        z = self._shut(f.block(f.x[part], f.y, terms, f.column_terms), part)
        if self.alone is None:
            return z / self.tau
        first, second = self.alone
        z = torch.cat([z, first[part, None]], 1)
        if part.stop > n:
            z = torch.cat([z, torch.cat([second, second.new_zeros(1)])[None]])
        return z / self.tau

    def _shut(self, z: Tensor, part: slice) -> Tensor:
        """Rows of $z$ without their forbidden pairs."""
        if self.forbidden is None:
            return z
        m = z.shape[1]
        low, high = torch.searchsorted(
            self.forbidden, self.forbidden.new_tensor([part.start * m, part.stop * m])
        ).tolist()
        keys = self.forbidden[low:high] - part.start * m
        return z.index_put((keys // m, keys % m), z.new_tensor(LOG_ZERO * self.tau))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return what gradients flow to."""
        f = self.factors
        return tuple(x for x in (f.x, f.y, f.row_terms, f.column_terms) if x is not None)

    def of(self, tensors: tuple[Tensor, ...]) -> BlockedKernel:
        """Return the kernel of other features and terms."""
        x, y, *terms = tensors
        rows = terms.pop(0) if self.factors.row_terms is not None else None
        columns = terms.pop(0) if self.factors.column_terms is not None else None
        return replace(self, factors=Factors(x, y, self.factors.affinity, row_terms=rows, column_terms=columns))


def blocked_plan(kernel: BlockedKernel, a: Tensor, b: Tensor, g: Tensor, rounds: int, tol: float) -> tuple[Tensor, ...]:
    """Return the potentials `f` and `g` after at most `rounds` rounds, and the errors of the sums of rows.

    Each round is one pass over the blocks. The sums of columns are exact afterwards.
    """
    f, g = _round(kernel, a, b, g)
    for step in range(1, rounds + 1):
        new_f, new_g = _round(kernel, a, b, g)
        error = (a.clamp_max(1) * ((f - new_f).exp() - 1)).abs()
        if step == rounds or (tol > 0 and float(error.max()) <= tol):
            return f, g, error
        f, g = new_f, new_g
    return f, g, error


def _round(kernel: BlockedKernel, a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """A row update and a column update."""
    f = torch.empty_like(a)
    top, total = torch.full_like(b, -torch.inf), torch.zeros_like(b)
    for part in kernel.parts():
        z = kernel.block(part)
        f[part] = shut(a[part].clamp_min(1e-30).log() - torch.logsumexp(z + g, 1), a[part])
        z += f[part, None]
        higher = torch.maximum(top, z.amax(0))
        total = total * (top - higher).exp() + (z - higher).exp().sum(0)
        top = higher
    return f, shut(b.clamp_min(1e-30).log() - (top + total.log()), b)


class FactoredPlan(NodeEdge):
    r"""A relaxed matching $X = \exp(S/\tau + f + g)$ that is not written out.

    What `Sinkhorn` returns for `Factors`. Gradients flow to features and terms of the scores through everything here,
    by the implicit function theorem; no round is kept in memory.

    Args:
        kernel: The exponents.
        f: The potential of the rows, in units of `tau`.
        g: The potential of the columns.
        seeds: Fixed pairs `(s, 2)`, of mass one, or None.

    Example:
        >>> import torch
        >>> from graphalign import Factors, Problem, Sinkhorn
        >>> x = torch.eye(3).requires_grad_()
        >>> plan = Sinkhorn(tau=0.1)(Problem(Factors(x, x.detach().roll(1, 0)))).value
        >>> plan.apply(torch.tensor([[0.0], [1.0], [2.0]])).round().T  # where each row goes
        tensor([[1., 2., 0.]], grad_fn=<PermuteBackward0>)
    """

    kernel: BlockedKernel
    f: Tensor
    g: Tensor
    seeds: Tensor | None

    def __init__(self, kernel: BlockedKernel, f: Tensor, g: Tensor, seeds: Tensor | None = None) -> None:
        if any(x.requires_grad for x in kernel.tensors()) and torch.is_grad_enabled():
            f, g = _Potentials.apply(kernel, f, g, *kernel.tensors())  # type: ignore[no-untyped-call]
        for name, value in (("kernel", kernel), ("f", f), ("g", g), ("seeds", seeds)):
            object.__setattr__(self, name, value)

    @property
    def frame(self) -> Tensor:
        """A tensor of the shape, dtype and device of the plan that takes no memory; its values mean nothing."""
        return self.kernel.factors.frame

    @property
    def is_table(self) -> bool:
        """False: the plan is not written out."""
        return False

    @property
    def node(self) -> Tensor:
        """The plan, written out, `(n, m)`.

        Raises:
            ValueError: It has more than $2^{30}$ entries.
        """
        n, m = self.frame.shape
        if n * m > MOST_WRITTEN:
            raise ValueError(f"the plan of {n:,} x {m:,} pairs is not written out: use its method `apply`")
        whole = self.kernel.block(slice(0, self.kernel.shape[0]))
        plan = (whole + self.f[:, None] + self.g).exp()[:n, :m]
        return plan if self.seeds is None else plan.index_put(tuple(self.seeds.T), plan.new_ones(()))

    def apply(self, values: Tensor) -> Tensor:
        """Return $X V$ for values of the columns $V$ `(m, k)`, block by block; differentiable in both."""
        n, m = self.frame.shape
        spare = values.new_zeros(self.kernel.shape[1] - m, values.shape[1])
        moved: Tensor = _Apply.apply(  # type: ignore[no-untyped-call]
            self.kernel, self.f, self.g, torch.cat([values, spare]), *self.kernel.tensors()
        )
        moved = moved[:n]
        return moved if self.seeds is None else moved.index_add(0, self.seeds[:, 0], values[self.seeds[:, 1]])

    def detach(self) -> FactoredPlan:
        """Return the same plan without its history."""
        kernel = self.kernel.of(tuple(x.detach() for x in self.kernel.tensors()))
        return FactoredPlan(kernel, self.f.detach(), self.g.detach(), self.seeds)

    def to(self, dtype: torch.dtype) -> NodeEdge:
        """Return the plan in another dtype, written out unless it is the same."""
        return self if dtype == self.f.dtype else NodeEdge(self.node.to(dtype))


def _entries(kernel: BlockedKernel, f: Tensor, g: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of the plan."""
    for part in kernel.parts():
        yield part, kernel.block(part).add_(f[part, None]).add_(g).exp_()


def _pull(kernel: BlockedKernel, weights: Callable[[slice], Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients at the kernel's tensors, given those at the rows of $z$."""
    totals = tuple(torch.zeros_like(x) for x in kernel.tensors())
    for part in kernel.parts():
        with torch.enable_grad():
            leaves = tuple(x.detach().requires_grad_() for x in kernel.tensors())
            z = kernel.of(leaves).block(part)
        for total, found in zip(totals, torch.autograd.grad(z, leaves, weights(part), allow_unused=True), strict=True):
            if found is not None:
                total += found
    return totals


class _Potentials(torch.autograd.Function):
    """The potentials as functions of features and terms."""

    @staticmethod
    def forward(ctx: Any, kernel: BlockedKernel, f: Tensor, g: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ctx.kernel = kernel.of(tuple(x.detach() for x in tensors))
        ctx.save_for_backward(f, g)
        return f.clone(), g.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_f: Tensor, grad_g: Tensor) -> tuple[Tensor | None, ...]:
        kernel, (f, g) = ctx.kernel, ctx.saved_tensors
        alpha, beta = _adjoint(kernel, f, g, grad_f, grad_g)

        def weights(part: slice) -> Tensor:
            plan = kernel.block(part).add_(f[part, None]).add_(g).exp_()
            pulled: Tensor = plan.mul_(alpha[part, None] + beta).neg_()
            return pulled

        return None, None, None, *_pull(kernel, weights)


def _adjoint(kernel: BlockedKernel, f: Tensor, g: Tensor, grad_f: Tensor, grad_g: Tensor) -> tuple[Tensor, Tensor]:
    r"""Solve $r \alpha + X \beta = \partial_f L,\; X^\top \alpha + c \beta = \partial_g L$ by conjugate gradients.

    $\alpha$ is eliminated; each step is one pass over the blocks. The system is singular along constants, which change
    nothing: they are taken out.
    """
    rows, columns = torch.empty_like(f), torch.zeros_like(g)
    for part, plan in _entries(kernel, f, g):
        rows[part] = plan.sum(1)
        columns += plan.sum(0)
    rows = rows.clamp_min(torch.finfo(f.dtype).tiny)
    scale = columns.clamp_min(torch.finfo(f.dtype).tiny)

    def through(values: Tensor | None, given: Tensor | None) -> Tensor:
        """Return $X^\\top r^{-1} (X v)$, or $X^\\top r^{-1} w$."""
        out = torch.zeros_like(g)
        for part, plan in _entries(kernel, f, g):
            middle = plan @ values if values is not None else given[part]  # type: ignore[index]
            out += (middle / rows[part]) @ plan
        return out

    target = grad_g - through(None, grad_f)
    beta = torch.zeros_like(g)
    left = target.clone()
    direction = left / scale
    size = first = torch.dot(left, left / scale)
    for _ in range(STEPS):
        if float(size) <= torch.finfo(f.dtype).eps ** (2 * POWER) * float(first):
            break
        image = columns * direction - through(direction, None)
        curve = torch.dot(direction, image)
        if float(curve) <= 0:
            break
        beta += size / curve * direction
        left -= size / curve * image
        new = torch.dot(left, left / scale)
        direction, size = left / scale + new / size * direction, new
    alpha = torch.empty_like(f)
    for part, plan in _entries(kernel, f, g):
        alpha[part] = (grad_f[part] - plan @ beta) / rows[part]
    return alpha, beta


class _Apply(torch.autograd.Function):
    """The product of the plan with values of the columns."""

    @staticmethod
    def forward(ctx: Any, kernel: BlockedKernel, f: Tensor, g: Tensor, values: Tensor, *tensors: Tensor) -> Tensor:
        ctx.kernel = kernel.of(tuple(x.detach() for x in tensors))
        ctx.save_for_backward(f, g, values)
        return torch.cat([plan @ values for _, plan in _entries(ctx.kernel, f, g)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel, (f, g, values) = ctx.kernel, ctx.saved_tensors
        grad_f, grad_g, grad_values = torch.empty_like(f), torch.zeros_like(g), torch.zeros_like(values)

        def weights(part: slice) -> Tensor:
            plan = kernel.block(part).add_(f[part, None]).add_(g).exp_()
            nonlocal grad_values
            grad_values += plan.mT @ grad[part]
            weighted: Tensor = plan.mul_(grad[part] @ values.mT)
            grad_f[part] = weighted.sum(1)
            grad_g.add_(weighted.sum(0))
            return weighted

        pulled = _pull(kernel, weights)
        return None, grad_f, grad_g, grad_values, *pulled
