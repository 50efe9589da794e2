"""Layers: one family, one file."""

from .activation import ReLU, Rescale, Sigmoid, Softmax, Tanh
from .dropout import Dropout
from .embedding import Embedding
from .gru import GRU
from .linear import Linear
from .lstm import LSTM
from .merge import Add, Concat, Multiply
from .norm import BatchNorm
from .rnn import RNN
from .scan import Scan
from .shape import Flatten, LastStep, RepeatVector, Reshape, Slice

__all__ = [
    "GRU", "LSTM", "RNN", "Add", "BatchNorm", "Concat", "Dropout", "Embedding", "Flatten", "LastStep", "Linear",
    "Multiply", "ReLU", "RepeatVector", "Rescale", "Reshape", "Scan", "Sigmoid", "Slice", "Softmax", "Tanh",
]  # fmt: skip
