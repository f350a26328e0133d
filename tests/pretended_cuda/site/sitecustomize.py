"""In a process that has this folder on its import path, there are pretended CUDA devices from the start."""

import os
import sys

sys.path.insert(0, os.environ["PRETENDED_CUDA_ROOT"])

from tests.pretended_cuda import pretended_cuda

_block = pretended_cuda(int(os.environ.get("PRETENDED_CUDA", "1")))  # kept open
_block.__enter__()
