"""A training for tests that kill it: ``python _resumed.py FILE`` trains, or goes on where the file stands.

The net has all that keeps a state: BatchNorm, Dropout, Adam's moments, a learning rate that falls on a plateau, the
wait of an early end, the best models in rotation, a table. It prints ``epoch N`` when a checkpoint stands, and
``done``.
"""

import sys
from pathlib import Path

import numpy as np

import fastnn as fnn

EPOCHS = 50


class Say(fnn.Callback):
    """Tell the parent how far the training is, after the checkpoint."""

    rank = 3

    def on_epoch_end(self, epoch, logs):
        print("epoch", epoch, flush=True)


def make():
    """The untrained net, compiled."""
    net = fnn.Sequential(
        fnn.LSTM(3, 4, bidirectional=True, return_sequences=False), fnn.BatchNorm(8), fnn.Dropout(0.3),
        fnn.Linear(8, 3), fnn.Softmax(), seed=4,
    )  # fmt: skip
    net.compile(fnn.Adam(lr=0.03, weight_decay=0.01, clipnorm=1.0), "categorical_crossentropy", ["accuracy"])
    return net


def arguments(folder, every=1):
    """What is given to ``fit``, data and callbacks."""
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((120, 4, 3)), rng.integers(0, 3, 120)
    callbacks = [
        fnn.ModelCheckpoint(folder / "run.safetensors", every=every),
        fnn.EarlyStopping("val_loss", patience=28, restore_best=True),
        fnn.ReduceLROnPlateau("val_accuracy", factor=0.7, patience=3, cooldown=1),
        fnn.ModelCheckpoint(folder / "best-{epoch:02d}.safetensors", "loss", save_best_only=True, keep=2),
        fnn.CSVLogger(folder / "log.csv"),
    ]
    options = {"epochs": EPOCHS, "batch_size": 16, "validation_split": 0.2, "verbose": 0}
    return {"x": x, "y": y, **options, "callbacks": callbacks}


def main(path):
    """Train to the end, from where the file stands."""
    net = fnn.load(path) if path.exists() else make()
    given = arguments(path.parent)
    given["callbacks"].append(Say())
    net.fit(**given, resume=True)
    net.save(path.parent / "final.safetensors")
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
