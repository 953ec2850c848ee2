"""Samples that lack a modality: which are there, the batch of those, and one output of several such batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..arguments import check_device, check_tensor
from .outputs import AlignmentOutput, Features, Masks

Present = Mapping[str, Tensor] | None


def check_present(present: Mapping[str, Tensor], features: Features) -> Tensor:
    """Return which samples each modality has, bool `(K, n)`; on a GPU it waits for the masks.

    Args:
        present: Name to bool `(n,)`, True at samples that have the modality; a modality that is left out has all.
        features: Name of the modality to vectors `(n, d)` or tokens `(n, t, d)`.

    Raises:
        TypeError: The masks are not named, or not boolean tensors.
        ValueError: A mask has the name of no modality, or another shape than `(n,)`.

    Example:
        >>> views = {"image": torch.ones(3, 2), "caption": torch.ones(3, 2)}
        >>> check_present({"caption": torch.tensor([True, False, True])}, views)
        tensor([[ True,  True,  True],
                [ True, False,  True]])
    """
    if not isinstance(present, Mapping):
        raise TypeError(f"`present` must be named by modalities, as {{'report': mask}}, not a {type(present).__name__}")
    wrong = [name for name in present if name not in features]
    if wrong:
        raise ValueError(f"`present` has {wrong[0]!r}, which is not a modality; there are {', '.join(features)}")
    found = []
    for name, x in features.items():
        mask = present.get(name)
        if mask is None:
            mask = torch.ones(len(x), dtype=torch.bool, device=x.device)
        check_tensor(f"`present` of {name!r}", mask)
        if mask.dtype != torch.bool:
            raise TypeError(f"`present` of {name!r} must be boolean, True at samples that have it; got {mask.dtype}")
        if tuple(mask.shape) != (len(x),):
            raise ValueError(
                f"`present` of {name!r} needs one entry for each of the {len(x)} samples; got {tuple(mask.shape)}"
            )
        check_device(f"`present` of {name!r}", mask, x.device, "its features")
        found.append(mask)
    return torch.stack(found)


def rows_of(value: Tensor | None, rows: Tensor) -> Tensor | None:
    """Return these rows of a tensor; None of None."""
    return None if value is None else value[rows]


def sub_batch(features: Features, masks: Masks, names: Sequence[str], rows: Tensor) -> tuple[Features, Masks]:
    """Return some modalities of some samples, with their token masks.

    Example:
        >>> part, _ = sub_batch({"a": torch.arange(3.0)[:, None], "b": torch.ones(3, 1)}, None, "a", torch.tensor([2]))
        >>> part
        {'a': tensor([[2.]])}
    """
    kept = {name: mask[rows] for name, mask in (masks or {}).items() if name in names}
    return {name: features[name][rows] for name in names}, kept or None


def emptied(features: Features, masks: Masks, here: Tensor) -> tuple[Features, Masks]:
    """Return the same features with zeros where a sample lacks the modality, whatever is held there.

    Args:
        features: As in `check_present`.
        masks: Name to bool `(n, t)`; absent samples count as full, as one without a token is refused.
        here: Bool `(K, n)`, as `check_present` returns it.
    """
    by_name = dict(zip(features, here, strict=True))
    filled = {
        name: torch.where(by_name[name][(...,) + (None,) * (x.dim() - 1)], x, 0.0) for name, x in features.items()
    }
    return filled, masks and {name: mask | ~by_name[name][:, None] for name, mask in masks.items()}


def joined(parts: Sequence[tuple[Tensor, int, AlignmentOutput]], features: Features, here: Tensor) -> AlignmentOutput:
    """Return one output of sub-batches; figures are means, weighted by how many matchings each has.

    Args:
        parts: For each sub-batch its rows, how many matchings it counts for, and its output.
        features: Of the whole batch.
        here: Bool `(K, n)`, as `check_present` returns it.

    Returns:
        Matchings `(n, n)` with no mass at samples that are absent. Without any sub-batch the loss is zero, with a
        gradient of zero, and the accuracy is NaN.
    """
    missing = {name: int((~there).sum()) for name, there in zip(features, here, strict=True)}
    if not parts:
        zero = torch.stack(
            [(torch.zeros_like(x) * x.nan_to_num(0, 0, 0)).sum().float() for x in features.values()]
        ).sum()
        return AlignmentOutput(zero, {}, zero.new_full((), torch.nan), zero.new_zeros(()), missing=missing)
    counts = [count for _, count, _ in parts]
    outs = [out for _, _, out in parts]

    def mean(values: Sequence[Tensor]) -> Tensor:
        """Weigh each part by its number of samples."""
        return torch.stack([count * value for count, value in zip(counts, values, strict=True)]).sum() / sum(counts)

    converged = [out.converged for out in outs if out.converged is not None]
    residual = [out.residual for out in outs if out.residual is not None]
    return AlignmentOutput(
        loss=mean([out.loss for out in outs]),
        matchings={
            name: _embedded(found, rows, here.shape[1])
            for rows, _, out in parts
            for name, found in out.matchings.items()
        },
        accuracy=mean([out.accuracy for out in outs]),
        unmatched=mean([out.unmatched for out in outs]),
        converged=mean(converged) if len(converged) == len(parts) else None,
        residual=torch.stack(residual).max() if residual else None,
        missing=missing,
    )


def _embedded(found: Tensor, rows: Tensor, n: int) -> Tensor:
    whole = found.new_zeros(n, n)
    whole[rows[:, None], rows] = found
    return whole
