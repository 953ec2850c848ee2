"""Two modalities from Python's own library: what a function does, as code, and what is written about it, as text.

    python docs/tutorials/code_and_text.py

Every function of the standard library that has a docstring is a pair: the words of its code, and the words of the
docstring. Two small encoders, which have no word in common, learn to put them in one space by graph alignment alone.
Whole modules are held out (about a minute and a half on one core; `--steps 100` for less).
"""

from __future__ import annotations

import argparse
import ast
import re
import sysconfig
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import graphalign as ga

WORDS, WIDTH, NODES, TEST = 4096, 64, 64, 200  # hashed words of a vocabulary, width, samples a step and in the test
Views = Mapping[str, Tensor]


def functions() -> Iterator[tuple[str, str, str]]:
    """Module, code without its docstring, and docstring, of every function that says enough about itself."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1:
                text = ast.get_docstring(node)
                code = ast.unparse(ast.Module(node.body[1:], []))
                if text and len(words(text)) >= 5 and len(words(code)) >= 5:
                    yield path.stem, code, text


def words(text: str) -> list[str]:
    """Lower-case words, those of_snake_case and OfCamelCase taken apart."""
    return re.findall(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*", text)


def counts(texts: list[str]) -> Tensor:
    """Texts to unit vectors of hashed word counts `(texts, WORDS)`, damped and weighed down where all have a word."""
    table = torch.zeros(len(texts), WORDS)
    for row, text in zip(table, texts, strict=True):
        places = torch.tensor([zlib.crc32(word.lower().encode()) % WORDS for word in words(text)])
        row.index_add_(0, places, torch.ones(len(places)))
    rare = (len(texts) / (1 + (table > 0).sum(0))).log().clamp(min=0)
    return F.normalize(table.log1p() * rare, dim=-1)


def data() -> tuple[Views, Views]:
    """Training and test pairs; no module is in both."""
    found = list(functions())
    held_out = torch.tensor([zlib.crc32(module.encode()) % 4 == 0 for module, _, _ in found])
    views = {"code": counts([code for _, code, _ in found]), "text": counts([text for _, _, text in found])}
    train, test = ({name: x[part] for name, x in views.items()} for part in (~held_out, held_out))
    chosen = torch.randperm(len(test["code"]), generator=Generator().manual_seed(0))[:TEST]
    return train, {name: x[chosen] for name, x in test.items()}


def encoders() -> nn.ModuleDict:
    """A linear map for each modality."""
    return nn.ModuleDict({name: nn.Linear(WORDS, WIDTH, bias=False) for name in ("code", "text")})


LOSSES = {
    "alignment": lambda: ga.AlignmentLoss(
        ga.differentiable(ga.Lap(), ga.IMLE(noise=ga.Gumbel(0.2))), barycenter="pairwise"
    ),
    "infonce": lambda: ga.InfoNCE(temperature=0.1),
}


def train(loss: nn.Module, views: Views, steps: int, seed: int) -> nn.ModuleDict:
    """Encoders trained on batches of pairs."""
    torch.manual_seed(seed)  # the encoders' initial weights
    generator, model = Generator().manual_seed(seed), encoders()
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=2e-3)
    for _ in range(steps):
        batch = torch.randint(len(views["code"]), (NODES,), generator=generator)
        out = loss({name: model[name](x[batch]) for name, x in views.items()}, generator=generator)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def found(model: nn.ModuleDict, views: Views) -> tuple[float, float]:
    """The share of code whose own text is the nearest, and is among the ten nearest, of all texts of the test."""
    code, text = (F.normalize(model[name](views[name]), dim=-1) for name in ("code", "text"))
    order = (code @ text.T).argsort(-1, descending=True)
    rank = (order == torch.arange(len(code))[:, None]).int().argmax(-1)
    return float((rank == 0).float().mean()), float((rank < 10).float().mean())


def main() -> None:
    """Prints what each loss finds, mean over seeds."""
    parser = argparse.ArgumentParser(description="Alignment of code and text.")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    training, test = data()
    print(f"{len(training['code'])} pairs for training, {len(test['code'])} of other modules for the test")
    print(f"{'loss':<10} {'first':>6} {'among ten':>10}")
    for name, make in LOSSES.items():
        shares = [found(train(make(), training, arguments.steps, seed), test) for seed in range(arguments.seeds)]
        first, ten = torch.tensor(shares).mean(0).tolist()
        print(f"{name:<10} {first:>6.3f} {ten:>10.3f}")
    print(f"{'chance':<10} {1 / TEST:>6.3f} {10 / TEST:>10.3f}")


if __name__ == "__main__":
    main()
