"""Layers: one family, one file."""

from .activation import ReLU, Sigmoid, Softmax, Tanh
from .dropout import Dropout
from .linear import Linear
from .lstm import LSTM
from .norm import BatchNorm
from .shape import RepeatVector

__all__ = ["LSTM", "BatchNorm", "Dropout", "Linear", "ReLU", "RepeatVector", "Sigmoid", "Softmax", "Tanh"]
