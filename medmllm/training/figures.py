"""Figures that a step logs about its losses and its alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphalign import AlignmentOutput
from medmllm.distributed import process, summed
from medmllm.model.aligned import StepOutput


def step_losses(
    out: StepOutput, caption_weight: float, weight: float, scaler: torch.amp.GradScaler | None
) -> dict[str, Any]:
    """A step's losses, read off its output after the backward pass; `scaler` scaled its gradients.

    `weight` is the step's alpha.
    """
    figures: dict[str, Any] = {"loss": 0.0, "loss_lm": float(out.answer_loss)}
    figures["loss"] += figures["loss_lm"]
    if caption_weight:
        figures["loss_caption"] = float(out.caption_loss)
        figures["loss"] += caption_weight * figures["loss_caption"]
    if out.alignment is not None:
        scale = scaler.get_scale() if scaler is not None else 1.0
        figures |= alignment_figures(out.alignment, out.views, scale * weight)
        figures["loss"] += weight * figures["loss_align"]
    return figures


def alignment_figures(alignment: AlignmentOutput, views: Mapping[str, Tensor], scale: float) -> dict[str, Any]:
    """Loss, accuracy and health of the matching, and the size of its gradient with respect to all views.

    On steps where samples have no caption, `missing_captions` says how many; the accuracy is of those that are matched.

    The gradients of this process's views hold `scale` times that of the alignment loss.
    """
    health = {"converged": alignment.converged, "residual": alignment.residual}
    return {
        "loss_align": alignment.loss.item(),
        "grad_norm_align": _norm(views) / scale,
        "matching_accuracy": float(alignment.accuracy),
        "unmatched": float(alignment.unmatched),
        **({"missing_captions": alignment.missing["caption"]} if alignment.missing else {}),
        **{name: float(value) for name, value in health.items() if value is not None},
    }


def _norm(views: Mapping[str, Tensor]) -> float:
    """Norm of the gradient in the views of all processes, each of which holds its own rows' times their number."""
    gradients = [view.grad for view in views.values() if view.grad is not None]
    own = torch.stack([g.norm() for g in gradients]).norm() if gradients else torch.zeros(())
    world = process().world
    return float(own) if world == 1 else float(summed(own**2).sqrt()) / world
