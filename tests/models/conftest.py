"""Settings for these tests, and a fake library of models in place of timm."""

from __future__ import annotations

import itertools
import sys
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def one_thread():
    """Threads slow down networks this small, especially if other tests run at the same time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class FakeNet(nn.Module):
    """A network in timm's form: features, pooling, and a classifier that ``num_classes=0`` omits."""

    def __init__(self, widths, num_classes, in_chans, drop_rate=0.0):
        super().__init__()
        self.num_classes, self.num_features, self.drop_rate = num_classes, widths[-1], drop_rate
        self.head_hidden_size = 2 * widths[-1]
        self.conv_stem = nn.Conv2d(in_chans, widths[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(inplace=True)) for a, b in pairs)
        )
        self.feature_info = [{"num_chs": width, "reduction": 2**n} for n, width in enumerate(widths, 1)]
        # Like timm's mobilenetv3: the embedding is wider than num_features.
        self.conv_head = nn.Linear(widths[-1], self.head_hidden_size)
        self.classifier = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x):
        return self.blocks(F.relu(self.bn1(self.conv_stem(x))))

    def forward_head(self, x, pre_logits=False):
        x = F.relu(self.conv_head(x.mean((2, 3))))
        x = F.dropout(x, self.drop_rate, self.training) if self.drop_rate else x
        return x if pre_logits else self.classifier(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class FakeTokens(nn.Module):
    """A network of tokens for images of 16 pixels a side; only its patch embedding returns a map."""

    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.num_features = 12
        self.proj = nn.Conv2d(in_chans, 12, 4, 4)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, num_classes) if num_classes else nn.Identity()

    def forward(self, x):
        if x.shape[-1] != 16:
            raise AssertionError(f"Input width ({x.shape[-1]}) doesn't match model (16).")
        return self.head(self.norm(self.proj(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.fixture
def fake_timm(monkeypatch):
    """A module ``timm`` with the parts of the real one that we use."""
    makers = {
        "tinynet": lambda **given: FakeNet((8, 8, 12, 12, 16, 16), **given),
        "tinyvit_patch4_16": FakeTokens,
        "unpooled": lambda num_classes, in_chans: nn.Conv2d(in_chans, 4, 3),
    }

    def is_model(name):
        return name.split(".", 1)[0] in makers

    def create_model(model_name, pretrained=False, num_classes=1000, in_chans=3):
        if pretrained:
            raise RuntimeError(f"No pretrained weights exist for {model_name}.\nUse `pretrained=False`")
        return makers[model_name.split(".", 1)[0]](num_classes=num_classes, in_chans=in_chans)

    module = types.ModuleType("timm")
    module.create_model, module.is_model, module.list_models = create_model, is_model, lambda: sorted(makers)
    monkeypatch.setitem(sys.modules, "timm", module)
    return module
