"""Which stream each convolution gets, and that it computes what the whole sequence gives."""

from __future__ import annotations

import pytest
import torch

from benchsuite.runtime.build import Sizes, build
from benchsuite.runtime.streams import Buffered, Recomputed, stream_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tcn", Buffered),
        ("tcn_separable", Buffered),
        ("wavenet", Buffered),
        ("longconv", Recomputed),
    ],
)
@torch.no_grad()
def test_streams_of_convolutions(name, kind):
    torch.manual_seed(0)
    model = build(name, Sizes(3, 6, 1, bidirectional=False, seq_len=20)).double().eval()
    x_BTF = torch.randn(2, 50, 3, dtype=torch.float64)
    stream = stream_of(model, x_BTF[:, :10])
    assert type(stream) is kind
    parts = x_BTF.split([1, 1, 7, 20, 21], 1)
    torch.testing.assert_close(torch.cat([stream.feed(p) for p in parts], 1), model(x_BTF))
