r"""Operations that a step must do, and what devices can do.

For the language model, per segment of $t$ tokens, width $h$, feed-forward width $f$, $l$ layers:
$2 t l (4 h^2 + 3 h f) + 2 l t^2 h$ forward (attention causal, hence half), and the head on learnt tokens only. Backward
takes twice the forward; a text without gradient has none. The tower is frozen and runs forward. Padding and recomputed
activations do not count: they are not useful.
"""

from __future__ import annotations

from collections.abc import Sequence

from medmllm.bench.sizes import Lengths, Size, tokens_of_image

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}  # dense bfloat16


def useful_flops(size: Size, lengths: Sequence[Lengths], variant: str) -> float:
    """Operations of one step of a variant."""
    images = tokens_of_image(size)
    talk = sum(language(size, 1 + n.images * images + n.question + n.answer + 1, n.answer + 1) for n in lengths)
    answer = sum(language(size, 1 + n.answer) for n in lengths)
    caption = sum(language(size, 1 + n.caption) for n in lengths)
    more = {
        "three_passes": 3 * (answer + caption),
        "packed_aligned": 3 * (answer + caption),
        "caption_no_grad": 3 * answer + caption,
        "lm_leaky": 3 * caption,
    }
    return 3 * talk + more.get(variant, 0.0) + sum(n.images for n in lengths) * tower(size)


def language(size: Size, tokens: int, learnt: int = 0) -> float:
    """Forward operations of a segment."""
    width, inner, layers, _ = size.language
    matrices = 2 * tokens * layers * (4 * width**2 + 3 * width * inner)
    return matrices + 2 * layers * tokens**2 * width + 2 * size.vocabulary * width * learnt


def tower(size: Size) -> float:
    """Forward operations of an image in the vision tower."""
    width, inner, layers, _ = size.vision
    tokens = tokens_of_image(size) + 1
    return layers * (2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width)
