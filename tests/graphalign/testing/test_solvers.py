"""The checks of solvers and estimators find what they are there for, and say it once."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from graphalign import (
    FAQ,
    IMLE,
    Blackbox,
    Greedy,
    Hungarian,
    Identity,
    Lap,
    NodeEdge,
    Problem,
    Sinkhorn,
    Solution,
    Unrolled,
    attach_vjp,
)
from graphalign.testing import estimator_checks, solver_checks
from graphalign.testing import solvers as solver_suite


@dataclass(frozen=True)
class Minimising:
    """A good solver of the negated scores."""

    solver: Any

    @property
    def order(self):
        return self.solver.order

    def __call__(self, problem):
        return self.solver(problem.with_scores(problem.scores * -1.0))


@dataclass(frozen=True)
class Changed:
    """A good solver whose solution is changed."""

    change: Any
    order: int = 1

    def __call__(self, problem):
        return self.change((FAQ() if self.order == 2 else Lap())(problem))


def failures(checks):
    """The names of the checks that fail, with what they say."""
    found = {}
    for check in checks:
        try:
            check()
        except AssertionError as error:
            found[check.name] = str(error)
    return found


@pytest.mark.parametrize("solver", [Lap(), Hungarian(), Greedy(), Sinkhorn(), Sinkhorn(tau=2.0), FAQ()], ids=repr)
def test_a_solver_that_minimises_is_found(solver):
    assert "high_scores_are_matched" in failures(solver_checks(Minimising(solver)))


@pytest.mark.parametrize(
    ("solver", "estimator"),
    [(Lap(), IMLE(samples=2)), (Lap(), Blackbox()), (Sinkhorn(), Unrolled()), (FAQ(), Blackbox())],
    ids=repr,
)
def test_a_gradient_of_a_solver_that_minimises_is_found(solver, estimator):
    named = [check for check in estimator_checks(estimator, Minimising(solver)) if "uphill" in check.name]
    assert "the_gradient_points_uphill" in failures(named)


class Downhill:
    """An estimator with the wrong sign."""

    def apply(self, solver, problem, generator):
        fixed = problem.with_scores(problem.scores.detach())
        return attach_vjp(solver(fixed), problem.scores, lambda grad: grad * -1.0)


def test_a_gradient_of_the_wrong_sign_is_found():
    assert "the_gradient_points_uphill" in failures(estimator_checks(Downhill()))


@pytest.mark.parametrize(
    ("solver", "sentence"),
    [
        (Lap, r"Lap is a class; give what it makes, solver_checks\(Lap\(\)\)"),
        (Changed(lambda solution: solution.matching), "a solver returns a Solution.*this one gives a Tensor"),
        (Changed(lambda solution: Solution(solution.matching)), "A Solution holds a NodeEdge.*this one gives a Tensor"),
        (
            Changed(lambda solution: Solution(NodeEdge(solution.matching[..., :3]))),
            r"of the shape \(4, 4\) give a matching of the shape \(4, 3\)",
        ),
        (
            Changed(lambda solution: Solution(NodeEdge(solution.matching)), order=2),
            "a solver of order 2 returns the pairs of edges too",
        ),
        (3, "a solver is called with a Problem; the type int cannot be"),
    ],
)
def test_what_is_no_solver_is_told_once(solver, sentence):
    (check,) = solver_checks(solver)
    with pytest.raises(AssertionError, match=sentence):
        check()


@pytest.mark.parametrize(
    ("apply", "sentence"),
    [
        (lambda solver, problem: solver(problem).matching, "`apply` returns a Solution.*this one gives a Tensor"),
        (lambda solver, problem: solver(problem), "the matching has no gradient: attach one with attach_vjp"),
    ],
)
def test_what_is_no_estimator_is_told_once(apply, sentence):
    class Wrong:
        def apply(self, solver, problem, generator):
            return apply(solver, problem)

    (check,) = estimator_checks(Wrong())
    with pytest.raises(AssertionError, match=sentence):
        check()


def test_an_error_of_ones_own_is_raised_as_it_is():
    def broken(problem):
        raise KeyError("mine")

    (check,) = solver_checks(broken)
    with pytest.raises(KeyError, match="mine"):
        check()


def rows_only(problem):
    best = problem.scores.node.argmax(-1)
    return Solution(NodeEdge(torch.nn.functional.one_hot(best, problem.scores.node.shape[-1]).to(problem.scores.node)))


@pytest.mark.parametrize(
    ("solver", "sentence"),
    [
        (rows_only, r"Node scores \(3, 4, 4\): a column sums to more than one"),
        (lambda p: replace(Lap()(p), value=Lap()(p).value * 0.75), "not all nodes of the smaller side are matched"),
        (lambda p: Lap()(Problem(p.scores)), r"Padded node scores \(3, 4, 5\): a padded node is matched"),
        (lambda p: Solution(Lap()(p).value * 2.0), "a row sums to more than one"),
        (lambda p: Solution(Lap()(p).value * -1.0), "an entry is negative"),
    ],
)
def test_it_says_how_a_matching_is_infeasible(solver, sentence):
    with pytest.raises(AssertionError, match=sentence):
        next(check for check in solver_checks(solver) if check.name == "matchings_are_feasible")()


def test_good_ones_fail_nothing():
    assert not failures(solver_checks(Lap()))
    assert not failures(estimator_checks(Identity()))


@pytest.mark.parametrize("check", [solver_suite.seeds_are_made, solver_suite.forbidden_pairs_are_not_made])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_solver_that_ignores_constraints_passes_neither_check(check, sign):
    """Whether it maximises or minimises."""

    def careless(problem):
        return Lap()(Problem(problem.scores * sign, unmatched=problem.unmatched))

    with pytest.raises(AssertionError):
        check(careless)
