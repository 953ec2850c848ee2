"""The last decoder layer's MLP where its result is read, and nowhere else.

No token attends to what the last layer gives. Its MLP, which looks at each place alone, is needed only where a token is
learnt or a view is pooled: at images and questions nothing reads it. Losses and gradients stay as they are, except the
order in which rows are added up.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def skip_unread(language_model: nn.Module) -> None:
    """From now on the last layer's MLP heeds `read`, (n,) places in the row, where the model is called with it.

    By hooks, not inside the forward pass alone: gradient checkpointing runs the layer again in the backward pass.
    """
    layer: Any = language_model.layers[-1]  # type: ignore[index]
    if _take not in layer.mlp._forward_pre_hooks.values():
        layer.mlp.read = None
        layer.register_forward_pre_hook(_remember, with_kwargs=True)
        layer.mlp.register_forward_pre_hook(_take)
        layer.mlp.register_forward_hook(_put_back)


def _remember(layer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    layer.mlp.read = named.get("read")


def _take(mlp: Any, arguments: tuple[Tensor]) -> tuple[Tensor] | None:
    if mlp.read is None:
        return None
    mlp.places = arguments[0].shape[1]
    return (arguments[0].index_select(1, mlp.read),)


def _put_back(mlp: Any, arguments: tuple[Tensor], result: Tensor) -> Tensor:
    """The result at its places in the row, zero elsewhere."""
    if mlp.read is None:
        return result
    return result.new_zeros(result.shape[0], mlp.places, result.shape[2]).index_copy_(1, mlp.read, result)
