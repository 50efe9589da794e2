"""fastnn: small neural networks on a CPU, at the speed of the CPU.

Layers with PyTorch's names, ``fit`` with Keras's, hot loops in Cython over SciPy's BLAS, and NumPy twins of all kernels
where there is no compiler. See ``README.md`` and ``docs/architecture.md``.
"""

from . import functional, initializers, losses, metrics, optimizers
from ._backend import backend, use_backend
from ._config import show_config
from .callbacks import Callback, EarlyStopping, History, LearningRateScheduler, ReduceLROnPlateau
from .cython_api import get_include
from .functional import dot
from .layers import (
    GRU,
    LSTM,
    RNN,
    Add,
    BatchNorm,
    Concat,
    Dropout,
    Embedding,
    Flatten,
    LastStep,
    Linear,
    Multiply,
    ReLU,
    RepeatVector,
    Rescale,
    Reshape,
    Scan,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from .layers._base import Layer
from .layers._node import Input, Node
from .layers.custom import CustomLayer
from .model import Model
from .optimizers import SGD, Adam
from .recorders import CSVLogger, ModelCheckpoint
from .saving import load
from .seeds import manual_seed
from .sequences import pad_sequences
from .sequential import Sequential
from .streaming import Stream
from .threads import get_num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "Add",
    "BatchNorm",
    "CSVLogger",
    "Callback",
    "Concat",
    "CustomLayer",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Flatten",
    "History",
    "Input",
    "LastStep",
    "Layer",
    "LearningRateScheduler",
    "Linear",
    "Model",
    "ModelCheckpoint",
    "Multiply",
    "Node",
    "ReLU",
    "ReduceLROnPlateau",
    "RepeatVector",
    "Rescale",
    "Reshape",
    "Scan",
    "Sequential",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Stream",
    "Tanh",
    "__version__",
    "backend",
    "dot",
    "functional",
    "get_include",
    "get_num_threads",
    "initializers",
    "load",
    "losses",
    "manual_seed",
    "metrics",
    "optimizers",
    "pad_sequences",
    "set_num_threads",
    "show_config",
    "use_backend",
]
