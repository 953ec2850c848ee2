r"""Dense connectors: a projector that reads several layers of the tower, and still is a stock LLaVA once saved.

Stock LLaVA concatenates the hidden states that `vision_feature_layer` lists. `sci` needs no more than that. `dci` reads
means, $[h_{-2}, \frac1K \sum_{i<K} h_i, \frac1K \sum_{K \le i < 2K} h_i]$. A linear layer over a mean is a linear layer
over the concatenation with its weight repeated,

    $W \frac1K \sum_i h_i = [\tfrac1K W, \dots, \tfrac1K W] \, [h_1; \dots; h_K]$,

so a stock model lists all layers and holds the repeated weight. While training, only one copy of it exists and learns.

Yao et al., Dense Connector for MLLMs (NeurIPS 2024), section 3. Its `sti` adds tokens of other layers to the sequence,
which no stock LLaVA can express, and is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import LlavaConfig, LlavaForConditionalGeneration

WEIGHT = "linear_1.weight"
COMPACT = "linear_1.parametrizations.weight.original"


class RepeatedOverLayers(nn.Module):
    """(d, (1 + 2) h) -> (d, (1 + 2 K) h): the weights of the two means, repeated K times and divided by K."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.width, self.layers = width, layers

    def forward(self, weight: Tensor) -> Tensor:
        top, *halves = weight.split(self.width, 1)
        return torch.cat([top, *((half / self.layers).repeat(1, self.layers) for half in halves)], 1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """For a repeated weight, the one that was repeated; for any other, the nearest in the mean."""
        top, rest = weight[:, : self.width], weight[:, self.width :]
        halves = (half.unflatten(1, (self.layers, self.width)).sum(1) for half in rest.chunk(2, 1))
        return torch.cat([top, *halves], 1)


def is_dci(config: LlavaConfig) -> bool:
    """Whether the projector reads one layer and, in halves, all layers below the top."""
    layers = config.vision_feature_layer
    return isinstance(layers, list) and layers[1:] == list(range(config.vision_config.num_hidden_layers))


def tie(llava: LlavaForConditionalGeneration) -> None:
    """Let one copy of a repeated weight learn, where the model has a `dci` connector; nothing is done elsewhere."""
    if is_dci(llava.config) and not _is_tied(llava.model.multi_modal_projector):
        vision = llava.config.vision_config
        repeated = RepeatedOverLayers(vision.hidden_size, vision.num_hidden_layers // 2)
        parametrize.register_parametrization(llava.model.multi_modal_projector.linear_1, "weight", repeated)


def repeated_weight(weight: Tensor, config: LlavaConfig) -> Tensor:
    """The weight of a projector that reads means, as a stock LLaVA that lists all layers has it."""
    vision = config.vision_config
    return RepeatedOverLayers(vision.hidden_size, vision.num_hidden_layers // 2)(weight)


def compact(projector: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A projector's weights as this one keeps them: of a repeated weight one copy, which may be given as such too."""
    if not _is_tied(projector) or WEIGHT not in weights:
        return dict(weights)
    weight, repeated = weights[WEIGHT], _repeated(projector)
    if weight.shape[1] == repeated.width * (1 + 2 * repeated.layers):
        weight = repeated.right_inverse(weight)
    return {k: v for k, v in weights.items() if k != WEIGHT} | {COMPACT: weight}


def stock_weights(weights: Mapping[str, Tensor], llava: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """A state dict with a repeated weight written out, as a stock LLaVA reads it."""
    projector = llava.model.multi_modal_projector
    if not _is_tied(projector):
        return dict(weights)
    repeated = _repeated(projector)
    return {k.replace(COMPACT, WEIGHT): repeated(v) if k.endswith(COMPACT) else v for k, v in weights.items()}


def _is_tied(projector: Any) -> bool:
    return parametrize.is_parametrized(projector.linear_1)


def _repeated(projector: Any) -> RepeatedOverLayers:
    repeated: RepeatedOverLayers = projector.linear_1.parametrizations.weight[0]
    return repeated
