"""Marks for tests that need more than a pretended device."""

import pytest
import torch

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="takes minutes without a GPU")
