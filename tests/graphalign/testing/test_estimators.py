"""Estimators with a common mistake are refused by a sentence that says how to mend it."""

from dataclasses import dataclass

import pytest

import graphalign as ga
from graphalign.testing import estimator_checks


@dataclass(frozen=True)
class Plain:
    """A step relative to the gradient that guards against nothing else."""

    lam: float = 1.0

    def apply(self, solver, problem, generator):
        scores = problem.scores.detach()
        found = ga.solve(solver, problem, scores)

        def vjp(grad):
            size = grad.amax()
            behind = ga.solve(solver, problem, scores - grad * (self.lam / size.clamp_min(1e-30))).value
            return (found.value - behind) * (size / self.lam)

        return ga.attach_vjp(found, problem.scores, vjp)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a_gradient_that_overflowed_is_seen", "return NaN for that problem"),
        ("the_scale_of_the_gradient_breaks_no_tie", "round that to multiples"),
    ],
)
def test_a_careless_step_is_refused_with_the_advice(name, advice):
    checks = {check.name: check for check in estimator_checks(Plain(), ga.Lap())}
    with pytest.raises(AssertionError, match=advice):
        checks[name]()
