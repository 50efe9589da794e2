"""One sequence in, another out: words written backwards, by an encoder and a decoder.

The encoder reads a word letter by letter; its last states are all that the decoder knows of it. In training the decoder
reads the right answer one step late (teacher forcing): it learns what comes next. By itself, in ``generate``, it reads
the letter that it has just written, until it writes the end.
"""

import itertools

import numpy as np

import fastnn as fnn

LETTERS = "abcdef"
START, END = len(LETTERS), len(LETTERS) + 1  # two more symbols, of the decoder only
SYMBOLS = len(LETTERS) + 2


def words(shortest: int, longest: int) -> list[str]:
    """Return all words of the letters, in a random order."""
    every = [
        "".join(letters)
        for length in range(shortest, longest + 1)
        for letters in itertools.product(LETTERS, repeat=length)
    ]
    return [every[k] for k in np.random.default_rng(0).permutation(len(every))]


def numbers(some: list[str], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return words as numbers (B, longest), and their lengths."""
    lengths = np.array([len(word) for word in some])
    padded = np.zeros((len(some), longest), int)
    for row, word in zip(padded, some, strict=True):
        row[: len(word)] = [LETTERS.index(letter) for letter in word]
    return padded, lengths


def text(answers: np.ndarray, ends: np.ndarray) -> list[str]:
    """Return generated numbers as words."""
    symbols = LETTERS + "<>"
    return ["".join(symbols[k] for k in row[:end]) for row, end in zip(answers, ends, strict=True)]


def model(size: int = 48, seed: int = 0) -> fnn.Model:
    word = fnn.Input((None,), name="word")
    so_far = fnn.Input((None,), name="answer so far")
    letters = fnn.Embedding(SYMBOLS, 8)  # one layer for both: a letter is the same letter
    _, h, c = fnn.LSTM(8, size, return_state=True)(letters(word))
    decoded = fnn.LSTM(8, size)(letters(so_far), initial_state=[h, c])
    return fnn.Model([word, so_far], fnn.Softmax()(fnn.Linear(size, SYMBOLS)(decoded)), seed=seed)


def train(some: list[str], epochs: int = 20) -> fnn.Model:
    x, lengths = numbers(some, max(map(len, some)))
    backwards, _ = numbers([word[::-1] for word in some], x.shape[1])
    # What the decoder reads begins with the start symbol; what it shall write ends with the end symbol.
    read = np.concatenate([np.full((len(x), 1), START), backwards], axis=1)
    write = np.concatenate([backwards, np.zeros((len(x), 1), int)], axis=1)
    write[np.arange(len(x)), lengths] = END
    net = model()
    net.compile(optimizer=fnn.Adam(lr=0.005), loss="categorical_crossentropy", metrics=["accuracy"])
    net.fit([x, read], write, epochs=epochs, batch_size=32, lengths=[lengths, lengths + 1], verbose=0)
    return net


def answers(net: fnn.Model, some: list[str]) -> list[str]:
    x, lengths = numbers(some, max(map(len, some)))
    return text(*net.generate(x, start=START, end=END, max_steps=2 * x.shape[1], lengths=lengths))


if __name__ == "__main__":
    every = words(3, 4)
    known, new = every[:1200], every[1200:]
    net = train(known)
    print("training:", net.history)
    for word, answer in list(zip(new, answers(net, new), strict=True))[:5]:
        print(f"{word} -> {answer}")
    right = np.mean([answer == word[::-1] for word, answer in zip(new, answers(net, new), strict=True)])
    print(f"right of {len(new)} words that it has never seen: {right:.1%}")
