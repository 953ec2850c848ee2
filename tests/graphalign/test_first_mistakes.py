"""A newcomer's first mistakes are answered by one sentence that says what to write instead."""

import numpy as np
import pytest
import torch

import graphalign as ga
from graphalign.arguments import shown

SOLVERS = sorted(ga.components("solver"))
EYE = torch.eye(3)
PROBLEM = ga.Problem(ga.NodeEdge(EYE))
ELSEWHERE = "meta"


def views(**changes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(4, 3, generator=generator).requires_grad_() for name in ("a", "b")} | changes


def noise():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_says_that_it_takes_a_problem(solver):
    made = ga.build("solver", solver)
    name = type(made).__name__
    with pytest.raises(TypeError, match=rf"{name}\(\) is called with a Problem, not with a Tensor.*Problem\(NodeEdge"):
        made(EYE)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (ga.NodeEdge(EYE.numpy()), {}, "node scores must be a torch.Tensor, not ndarray"),
        (ga.NodeEdge(EYE, EYE.tolist()), {}, "Edge scores must be a torch.Tensor, not list"),
        (ga.NodeEdge(EYE), {"mask1": [True, True, False]}, "`mask1` must be a torch.Tensor, not list"),
        (ga.NodeEdge(EYE), {"unmatched": torch.tensor(0.2)}, "`unmatched` must be a number or None, not Tensor"),
        (ga.NodeEdge(EYE), {"unmatched": True}, "`unmatched` must be a number or None, not bool"),
    ],
)
def test_what_is_no_tensor_or_no_number_is_told(scores, options, message):
    with pytest.raises(TypeError, match=message):
        ga.Problem(scores, **options)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("mask1", torch.ones(3, dtype=torch.bool)),
        ("mask2", torch.ones(3, dtype=torch.bool)),
        ("edges1", torch.tensor([[0], [1]])),
        ("edges2", torch.tensor([[0], [1]])),
    ],
)
def test_another_device_is_told_by_the_name_of_the_argument(name, given):
    with pytest.raises(ValueError, match=rf"`{name}` is on meta, but the node scores on cpu: move it.*to\('cpu'\)"):
        ga.Problem(ga.NodeEdge(EYE), **{name: given.to(ELSEWHERE)})


def test_edge_scores_on_another_device_are_told():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    with pytest.raises(ValueError, match="edge scores is on meta, but the node scores on cpu"):
        ga.Problem(ga.NodeEdge(EYE, EYE.to(ELSEWHERE)), ring, ring)


@pytest.mark.parametrize("loss", [ga.AlignmentLoss(), ga.InfoNCE(), ga.SigLIP(), ga.PLOT(), ga.VLAP(torch.eye(3))])
@pytest.mark.parametrize(
    ("features", "options", "error", "message"),
    [
        ([EYE, EYE], {}, TypeError, "features must be named by modalities.*not a list"),
        (views(b=EYE.numpy()), {}, TypeError, "the features of 'b' must be a torch.Tensor, not ndarray"),
        (views(b=torch.ones(4, 3).long()), {}, TypeError, r"the features of 'b' need a floating dtype.*by \.float\(\)"),
        (views(b=torch.ones(4, 3, device=ELSEWHERE)), {}, ValueError, "'b' is on meta, but 'a' on cpu"),
        (views(), {"masks": torch.ones(4, 2).bool()}, TypeError, "`masks` must be named by modalities.*not a Tensor"),
        (views(), {"groups": [0, 1, 2, 3]}, TypeError, "`groups` must be a torch.Tensor, not list"),
        (views(), {"groups": torch.arange(4.0)}, TypeError, "`groups` must hold whole numbers.*got torch.float32"),
        (
            views(b=torch.ones(4, 2, 3)),
            {"masks": {"b": torch.ones(4, 2, dtype=torch.bool, device=ELSEWHERE)}},
            ValueError,
            "the mask of 'b' is on meta, but its tokens on cpu",
        ),
    ],
)
def test_every_loss_says_what_it_takes(loss, features, options, error, message):
    with pytest.raises(error, match=message):
        loss(features, generator=noise(), **options)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ga.AlignmentLoss()(views(), generator=0),
        lambda: ga.AlignmentLoss(criterion="fenchel_young")(views(), generator=0, groups=torch.arange(4)),
        lambda: ga.differentiable(ga.Lap(), ga.Blackbox())(PROBLEM, generator=0),
        lambda: ga.FenchelYoung()(PROBLEM, EYE, generator=0),
    ],
)
def test_a_seed_is_no_generator(call):
    with pytest.raises(TypeError, match=r"`generator` must be a torch.Generator, not 0: write.*manual_seed\(0\)"):
        call()


def test_the_generator_may_stand_second():
    match = ga.differentiable(ga.Lap(), ga.IMLE())
    assert torch.equal(match(PROBLEM, noise()).matching, match(PROBLEM, generator=noise()).matching)


def test_a_missing_generator_is_told_with_both_calls():
    with pytest.raises(ValueError, match=r"match\(problem, generator=g\), or loss\(features, generator=g\)"):
        ga.AlignmentLoss()(views())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("lap", ga.IMLE()), r"the solver must be an object, not its name: write graphalign.build\('solver', 'lap'\)"),
        ((ga.Lap(), "imle"), r"write graphalign.build\('estimator', 'imle'\)"),
        ((ga.Lap, ga.IMLE()), r"the solver must be an object, not a class: write Lap\(\)"),
        ((ga.Lap(), ga.IMLE), r"the estimator must be an object, not a class: write IMLE\(\)"),
        ((ga.IMLE(), ga.Lap()), r"the solver first, then the estimator: differentiable\(Lap\(\), IMLE\(\)\)"),
        ((EYE, ga.IMLE()), r"must be one such as Lap\(\), not a tensor of the shape \(3, 3\)"),
        ((ga.Lap(), None), r"must be one such as IMLE\(\), not None"),
    ],
)
def test_what_makes_no_differentiable_solver_is_told_at_once(parts, message):
    with pytest.raises(TypeError, match=message):
        ga.differentiable(*parts)


def test_a_differentiable_solver_says_that_it_takes_a_problem():
    with pytest.raises(TypeError, match="match is called with a Problem, not with a Tensor"):
        ga.differentiable(ga.Lap(), ga.IMLE())(EYE)


@pytest.mark.parametrize("part", [ga.Lap, ga.Sinkhorn, ga.FAQ])
def test_no_message_prints_a_tensor(part):
    with pytest.raises(ValueError, match=r"not a Problem .*Lap\(\)\(problem\)") as failure:
        part(ga.Problem(ga.NodeEdge(torch.zeros(99, 99))))
    assert len(str(failure.value)) < 150
    assert len(shown([torch.zeros(99, 99)])) <= 300


@pytest.mark.parametrize("criterion", [ga.hamming, ga.cross_entropy])
@pytest.mark.parametrize("target", [torch.arange(3), torch.eye(4), torch.ones(3, 1), torch.ones(2, 3, 3)])
def test_a_target_is_a_matrix_of_the_matching(criterion, target):
    with pytest.raises(ValueError, match=r"`target` needs the last two dimensions \(3, 3\).*one_hot\(columns, 3\)"):
        criterion(EYE, target)


@pytest.mark.parametrize("criterion", [ga.FenchelYoung(), ga.SPOPlus()])
def test_criteria_that_solve_want_the_same_target(criterion):
    with pytest.raises(ValueError, match=r"`target` needs the last two dimensions \(3, 3\)"):
        criterion(PROBLEM, torch.arange(3), generator=noise())


def test_a_target_may_serve_a_whole_batch():
    assert ga.hamming(EYE.expand(2, 4, 3, 3), EYE.expand(4, 3, 3)).shape == (2, 4)
    with pytest.raises(TypeError, match=r"`target` must be a torch\.Tensor, not list"):
        ga.hamming(EYE, [0, 1, 2])


def test_accuracy_wants_the_same_samples_on_both_sides():
    with pytest.raises(ValueError, match=r"`matching` needs the shape \(\*batch, n, n\).*got \(3, 4\)"):
        ga.matching_accuracy(torch.zeros(3, 4))


def test_an_encoder_of_features_alone_is_told_when_it_is_given():
    with pytest.raises(ValueError, match=r"called as encoder\(x, edge_index\).*Linear.*cannot be"):
        ga.AlignmentLoss(encoder=torch.nn.Linear(3, 3))


def test_message_passing_names_its_width():
    with pytest.raises(
        ValueError, match=r"MessagePassing\(8\) takes features `x` of the width 8; got the shape \(2, 4, 3\)"
    ):
        ga.MessagePassing(8)(torch.zeros(2, 4, 3), torch.zeros(2, 2, 1, dtype=torch.long))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ga.IMLE(noise=0.2),
        lambda: ga.AlignmentLoss(graph=5),
        lambda: ga.AlignmentLoss(affinity=5),
        lambda: ga.FenchelYoung(solver="lap"),
        lambda: ga.StraightThrough(surrogate=5),
    ],
)
def test_an_example_in_a_message_is_python(make):
    with pytest.raises(ValueError, match=r"e\.g\. (Gumbel|KNN|Cosine|Lap|Sinkhorn)\(.*\), not"):
        make()


@pytest.mark.parametrize("loss", [ga.AlignmentLoss(), ga.AlignmentLoss(criterion="fenchel_young")])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_told_by_name_and_row(loss, bad):
    x = torch.ones(4, 3)
    x[2, 1] = bad
    with pytest.raises(ValueError, match=r"the features of 'b' are not finite in 1 of 4 rows: \[2\]"):
        loss(views(b=x), generator=noise())


def test_scores_that_are_not_finite_are_told_as_they_were_given():
    scores = torch.eye(4).repeat(2, 1, 1)
    scores[1, 0, 3] = torch.nan
    match = ga.differentiable(ga.Lap(), ga.IMLE(samples=4))
    message = r"Lap got 1 node scores that are not finite \(of 32\), the first at \[1, 0, 3\]"
    with pytest.raises(ValueError, match=message):
        match(ga.Problem(ga.NodeEdge(scores)), generator=noise())


def test_another_error_of_a_solver_stays_what_it_is():
    def broken(problem):
        raise ValueError("mine")

    for call in (
        lambda: ga.differentiable(broken, ga.IMLE())(PROBLEM, generator=noise()),
        lambda: ga.AlignmentLoss(ga.differentiable(broken, ga.IMLE()))(views(), generator=noise()),
    ):
        with pytest.raises(ValueError, match="mine"):
            call()


def test_a_matching_without_a_gradient_is_told_by_the_loss():
    def match(problem, generator=None):
        return ga.Lap()(problem)

    with pytest.raises(ValueError, match=r"has no gradient.*another estimator"):
        ga.AlignmentLoss(match)(views(), generator=noise())


@pytest.mark.parametrize("graph", [ga.KNN(k=2), ga.Complete(), ga.Threshold(radius=1.0)])
def test_graphs_say_that_they_take_floating_tensors(graph):
    with pytest.raises(TypeError, match=r"node features must be a torch.Tensor, not ndarray, e\.g\. torch.as_tensor"):
        graph(np.zeros((4, 2)))
    with pytest.raises(TypeError, match="floating dtype"):
        graph(torch.zeros(4, 2, dtype=torch.long))
