"""Sums of gradients: the same numbers as at once, without a copy of the whole."""

from __future__ import annotations

import pytest
import torch

from atlas_core.memory import SUM_PIECE
from atlas_core.model.summing import add_to


@pytest.mark.parametrize("shape", [(3,), (300, 7), (3, SUM_PIECE), (1000, 600)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pieces_add_up_to_the_whole(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    total, part = torch.randn(shape), torch.randn(shape).to(dtype)
    expected = total + 0.25 * part.float()
    add_to(total, part, alpha=0.25)
    torch.testing.assert_close(total, expected)


def test_no_copy_of_the_whole_is_made() -> None:
    total, part = torch.zeros(8192, 512), torch.ones(8192, 512, dtype=torch.bfloat16)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        add_to(total, part)
    largest = max(event.cpu_memory_usage for event in recorded.events())
    assert largest <= 4 * SUM_PIECE < 4 * total.numel()
