import pytest
import torch

from medmllm.model.attention import segment_attention


@pytest.mark.parametrize("key_heads", [4, 2])
def test_half_precision_on_a_cpu_is_single_precision_rounded_once(key_heads):
    generator = torch.Generator().manual_seed(0)
    bounds = torch.tensor([0, 3, 8, 9], dtype=torch.int32)
    rows = [torch.randn(1, heads, 9, 8, generator=generator).bfloat16() for heads in (4, key_heads, key_heads)]
    wide, half = ([x.to(dtype, copy=True).requires_grad_() for x in rows] for dtype in (torch.float32, torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        expected, _ = segment_attention(torch.nn.Identity(), *wide, None, bounds=bounds, longest=5)
        actual, _ = segment_attention(torch.nn.Identity(), *half, None, bounds=bounds, longest=5)
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, expected.bfloat16())
    weights = torch.randn(actual.shape, generator=generator).bfloat16()
    (actual * weights).sum().backward()
    (expected * weights.float()).sum().backward()
    for x, y in zip(half, wide, strict=True):
        assert torch.equal(x.grad, y.grad.bfloat16())
