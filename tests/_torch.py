"""Torch as the tests' oracle, in one thread.

On products as small as these its threads mostly wait for each other, on a busy machine a hundred times longer than they
compute.
"""

import torch

torch.set_num_threads(1)
