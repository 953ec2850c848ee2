"""The benchmark measures what it says: variants learn the same, tokens and operations are counted right."""

import pytest
import torch

from medmllm.bench.flops import language, useful_flops
from medmllm.bench.sizes import SIZES, Lengths, draw_lengths, tokens_of_image
from medmllm.bench.step import VARIANTS, Contender, Setup, measure_steps, read_tokens

TINY = SIZES["tiny"]


@pytest.fixture(scope="module")
def document():
    return measure_steps(Setup("tiny", batch=4, steps=1, warmup=0), torch.device("cpu"))


def test_every_variant_has_a_row_and_ratios_to_both_bases(document):
    assert [row["variant"] for row in document["rows"]] == list(VARIANTS)
    assert all(row["seconds"] > 0 and row["mfu"] > 0 and row["peak_gib"] is None for row in document["rows"])
    assert {"packed_aligned / plain_padded", "packed_aligned / three_passes"} <= document["ratios"].keys()
    shares = {row["variant"]: row["align_share"] for row in document["rows"]}
    assert shares["packed_lm"] == 0 < shares["packed_aligned"] < 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variants_start_from_the_same_language_loss(variant):
    """The padded and the packed passes of untrained weights have one next-token loss; alignment comes on top."""
    contender = Contender(Setup("tiny", batch=4, steps=1, warmup=0), torch.device("cpu"))
    plain, out = contender.losses("plain_padded"), contender.losses(variant)
    assert float(out.answer_loss) == pytest.approx(float(plain.loss.detach()), rel=1e-4)
    assert (out.alignment is None) == (variant in ("plain_padded", "packed_lm"))


def test_tokens_count_padding_where_there_is_any():
    batch = Contender(Setup("tiny", batch=3, steps=1, warmup=0), torch.device("cpu")).batch
    talks, texts = batch.lengths[:3], batch.lengths[3:]
    assert read_tokens(batch, "plain_padded") == 3 * max(talks)
    assert read_tokens(batch, "packed_lm") == sum(talks)
    assert read_tokens(batch, "packed_aligned") == sum(talks) + sum(texts)
    assert read_tokens(batch, "three_passes") == 3 * (max(talks) + max(texts[:3]) + max(texts[3:]))


def test_the_length_law_wastes_what_the_design_says():
    """About 1.46 for padded conversations, 1.83 for three padded passes, over many batches of 16."""
    size, images = SIZES["small"], tokens_of_image(SIZES["small"])
    batches = [draw_lengths(16, size, seed) for seed in range(60)]
    parts = [
        ([2 + images + n.question + n.answer for n in b], [1 + n.answer for n in b], [1 + n.caption for n in b])
        for b in batches
    ]
    real = [sum(map(sum, part)) for part in parts]
    padded = [sum(16 * max(p) for p in part) for part in parts]
    assert sum(padded) / sum(real) == pytest.approx(1.83, abs=0.06)
    assert sum(16 * max(p[0]) for p in parts) / sum(sum(p[0]) for p in parts) == pytest.approx(1.46, abs=0.06)


def test_operations_follow_the_formula_at_7b():
    """60 + 200 + 300 tokens and 256 of the image: three passes are 1.95 plain steps."""
    size = SIZES["7b"]
    lengths = [Lengths(60, 200, 300)]
    ratio = useful_flops(size, lengths, "three_passes") / useful_flops(size, lengths, "packed_lm")
    assert ratio == pytest.approx(1.95, abs=0.03)
    saved = useful_flops(size, lengths, "packed_aligned") - useful_flops(size, lengths, "caption_no_grad")
    assert saved == pytest.approx(2 * language(size, 301))
    assert language(size, 100) == pytest.approx(2 * 6.48e9 * 100, rel=0.02)
