"""Shared by the losses over modalities: the call, its checks, and features as one tensor or as token sets."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from ..arguments import check_device, check_tensor
from ..targets import correspondence
from .missing import Present, check_present, joined, rows_of, sub_batch
from .outputs import AlignmentOutput, Features, Masks


class ModalityLoss(nn.Module):
    """Base class of the losses over modalities: a loss of your own implements `compute`, the rest is here.

    A call checks and switches autocast off, `evaluate` gives the figures without gradient, and what is printed is the
    call that builds the loss, from the attributes that are named like the arguments of the constructor.

    Attributes:
        reads_tokens: Whether `compute` reads tokens; False, the default, where they are averaged first.

    Example: the distance of two modalities, sample by sample.

        >>> import torch
        >>> from graphalign import AlignmentOutput, ModalityLoss, vectors
        >>> class Distance(ModalityLoss):
        ...     def __init__(self, power: float = 2.0) -> None:
        ...         super().__init__()
        ...         self.power = power
        ...     def compute(self, features, masks, groups, generator):
        ...         first, second = vectors(features, masks)
        ...         loss = (first - second).norm(dim=-1).pow(self.power).mean()
        ...         return AlignmentOutput(loss, {}, torch.ones(()), torch.zeros(()))
        >>> Distance(), Distance()({"image": torch.zeros(3, 4), "report": torch.ones(3, 4)}).loss
        (Distance(power=2.0), tensor(4.))
    """

    reads_tokens: ClassVar[bool] = False

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        """Return the loss of one batch, with autocast off; the arguments are those of the call.

        Args:
            features: As given to the call; `vectors` and `token_sets` check and convert them.
            masks: As given.
            groups: As given; `correspondence` checks them and makes the target.
            generator: As given.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compute(features, masks, groups, generator)")

    def compute_present(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None, here: Tensor
    ) -> AlignmentOutput:
        """Return the loss of a batch in which samples lack modalities.

        It is the mean over the pairs of modalities, each computed on the samples that have both. A loss that is not
        such a mean replaces this method.

        Args:
            features: As given; rows of samples that lack the modality may hold anything.
            masks: As given.
            groups: As given.
            generator: As given.
            here: Bool `(K, n)`: which samples each modality has; at least one is False.
        """
        parts = []
        for first, second in combinations(range(len(here)), 2):
            rows = (here[first] & here[second]).nonzero()[:, 0]
            if len(rows):
                names = [list(features)[first], list(features)[second]]
                part, part_masks = sub_batch(features, masks, names, rows)
                parts.append((rows, 1, self.compute(part, part_masks, rows_of(groups, rows), generator)))
        return joined(parts, features, here)

    def forward(
        self,
        features: Features,
        *,
        masks: Masks = None,
        groups: Tensor | None = None,
        present: Present = None,
        generator: Generator | None = None,
    ) -> AlignmentOutput:
        """Return the loss of one batch.

        Args:
            features: Name of the modality to vectors `(n, d)` or tokens `(n, t, d)`, two or more, sample i in row i of
                all; of tokens the mean is taken where `reads_tokens` is False.
            masks: Name to bool `(n, t)`, True at real tokens; padding does not count.
            groups: Long `(n)`: samples with equal labels, e.g. duplicates, are interchangeable in the target. Where all
                modalities have equal rows within each group, most losses change their value by it and not their
                gradient.
            present: Name to bool `(n,)`, True at samples that have the modality; names may be left out. The loss is
                taken over what is there, see `compute_present`; rows that are not there may hold anything, have a
                gradient of zero, and are counted in the output's `missing`.
            generator: Source of the noise of losses that draw some; the others ignore it.

        Raises:
            ValueError: Fewer than two modalities, no samples, or shapes or devices that differ.
            TypeError: Features or masks are not named, features no tensors of a floating dtype, groups no whole
                numbers, a mask or `present` is not boolean.
        """
        with torch.autocast(device_type(features), enabled=False):
            if present is None:
                return self.compute(features, masks, groups, generator)
            here = samples_there(features, groups, present)
            if not bool(here.all()):
                return self.compute_present(features, masks, groups, generator, here)
            return replace(self.compute(features, masks, groups, generator), missing=dict.fromkeys(features, 0))

    @torch.no_grad()
    def evaluate(
        self, features: Features, *, masks: Masks = None, groups: Tensor | None = None, present: Present = None
    ) -> AlignmentOutput:
        """Return the same figures without gradient."""
        if present is None:  # a call of your own may not take it
            return self.forward(features, masks=masks, groups=groups)
        return self.forward(features, masks=masks, groups=groups, present=present)

    def extra_repr(self) -> str:
        held = self._modules | self._parameters | self._buffers
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name) and name not in held]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def samples_there(features: Features, groups: Tensor | None, present: Mapping[str, Tensor]) -> Tensor:
    """Return which samples each modality has, bool `(K, n)`; token masks are checked where they are read."""
    check_modalities(features, None)
    here = check_present(present, features)
    correspondence(here.shape[1], groups, here)
    return here


def vectors(features: Features, masks: Masks = None) -> Tensor:
    """Return all modalities as one tensor `(K, n, d)`, float64 if any is, else float32.

    Tokens `(n, t, d)` become their mean over the real ones; padding does not count, whatever it holds.

    Args:
        features: Name of the modality to vectors `(n, d)` or tokens `(n, t, d)`; two or more modalities of one width.
        masks: Name to bool `(n, t)`, True at real tokens; names may be left out.

    Raises:
        ValueError: Fewer than two modalities, no samples, shapes or devices that differ, or a sample without a real
            token.
        TypeError: Features or masks are not named, features no tensors of a floating dtype, or a mask is not boolean.

    Example:
        >>> tokens = torch.tensor([[[2.0], [4.0], [9.0]]])
        >>> vectors({"image": torch.ones(1, 1), "text": tokens}, {"text": torch.tensor([[True, True, False]])})
        tensor([[[1.]],
        <BLANKLINE>
                [[3.]]])
    """
    check_modalities(features, masks)
    dtype = precision(features)
    return torch.stack([_mean(x.to(dtype), (masks or {}).get(name)) for name, x in features.items()])


def check_finite_rows(x: Tensor, names: Sequence[str]) -> None:
    """Raise for features that are not finite, with the modality and the rows; on a GPU it waits for them.

    Args:
        x: `(K, n, d)`, as `vectors` returns it.
        names: Of the K modalities.

    Raises:
        ValueError: A feature is NaN or infinite.

    Example:
        >>> check_finite_rows(torch.ones(2, 3, 4), ["image", "report"])
    """
    for name, bad in zip(names, (~x.isfinite()).any(-1), strict=True):
        rows = bad.nonzero()[:, 0].tolist()
        if rows:
            raise ValueError(
                f"the features of {name!r} are not finite in {len(rows)} of {x.shape[1]} rows: {rows[:5]}; look for a "
                f"division by zero or an overflow before the loss"
            ) from None


def token_sets(features: Features, masks: Masks = None) -> list[tuple[Tensor, Tensor]]:
    """Return the tokens `(n, t, d)` of every modality, zero at padding, and bool `(n, t)`: which are real.

    A vector is a set of one token.

    Args:
        features: As for `vectors`.
        masks: As for `vectors`.

    Raises:
        ValueError: As for `vectors`.
        TypeError: A mask is not boolean.

    Example:
        >>> image, text = token_sets({"image": torch.ones(1, 4), "text": torch.ones(1, 3, 4)})
        >>> tuple(image[0].shape), tuple(text[0].shape), text[1]
        ((1, 1, 4), (1, 3, 4), tensor([[True, True, True]]))
    """
    check_modalities(features, masks)
    dtype, sets = precision(features), []
    for name, x in features.items():
        x = (x[:, None] if x.dim() == 2 else x).to(dtype)
        mask = (masks or {}).get(name)
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        sets.append((torch.where(real[..., None], x, 0.0), real))
    return sets


def precision(features: Features) -> torch.dtype:
    """Return float64 if any modality is of it, else float32."""
    return reduce(torch.promote_types, (x.dtype for x in features.values()), torch.float32)


def device_type(features: Features) -> str:
    """Return the type of the device on which the first modality lies, by which autocast is switched off.

    Args:
        features: Name of the modality to a tensor.

    Example:
        >>> device_type({"image": torch.ones(1, 4)})
        'cpu'
    """
    _check_named(features)
    return next((x.device.type for x in features.values()), "cpu")


def _check_named(features: Features) -> None:
    if not isinstance(features, Mapping):
        raise TypeError(
            f"features must be named by modalities, as {{'image': x, 'report': y}}, not a {type(features).__name__}"
        )
    for name, x in features.items():
        check_tensor(f"the features of {name!r}", x)
        if not x.is_floating_point():
            raise TypeError(f"the features of {name!r} need a floating dtype, not {x.dtype}, e.g. by .float()")


def check_modalities(features: Features, masks: Masks) -> None:
    """Raise for features and masks that fit no loss; see `vectors`."""
    _check_named(features)
    shapes = {name: tuple(x.shape) for name, x in features.items()}
    if len(shapes) < 2:
        raise ValueError(f"alignment needs two or more modalities; got {len(shapes)}: {', '.join(shapes) or 'none'}")
    if len({(s[:1], s[-1:]) for s in shapes.values()}) > 1 or any(len(s) not in (2, 3) for s in shapes.values()):
        raise ValueError(
            f"all modalities need features of one shape (samples, width), or tokens (samples, tokens, width) of one "
            f"number of samples and one width; got {shapes}"
        )
    if any(0 in shape for shape in shapes.values()):
        raise ValueError(f"alignment needs at least one sample and one feature; got features of the shapes {shapes}")
    first, device = next((name, x.device) for name, x in features.items())
    for name, x in features.items():
        check_device(f"{name!r}", x, device, f"{first!r}")
    if masks is not None and not isinstance(masks, Mapping):
        raise TypeError(f"`masks` must be named by modalities, as {{'report': mask}}, not a {type(masks).__name__}")
    for name, mask in (masks or {}).items():
        _check_mask(name, mask, features)


def _check_mask(name: str, mask: Tensor, features: Features) -> None:
    if name not in features:
        raise ValueError(f"`masks` has {name!r}, which is not a modality; there are {', '.join(features)}")
    check_tensor(f"the mask of {name!r}", mask)
    check_device(f"the mask of {name!r}", mask, features[name].device, "its tokens")
    if mask.dtype != torch.bool:
        raise TypeError(f"the mask of {name!r} must be boolean, True at real tokens; got {mask.dtype}")
    shape = tuple(features[name].shape)
    if len(shape) != 3 or tuple(mask.shape) != shape[:2]:
        raise ValueError(
            f"the mask of {name!r} needs the shape (samples, tokens) of its tokens; got {tuple(mask.shape)} for "
            f"features of the shape {shape}"
        )
    # On a GPU this would make the caller wait for all work that was queued before.
    if mask.device.type == "cpu" and not bool(mask.any(-1).all()):
        empty = (~mask.any(-1)).nonzero()[:, 0].tolist()
        raise ValueError(f"{name!r} has samples without a real token: {empty[:5]}; leave them out of the batch")


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    if x.dim() == 2:
        return x
    if mask is None:
        return x.mean(1)
    return torch.where(mask[..., None], x, 0.0).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
