"""The recurrent cells number by number in plain Python: one step of one example at a time, no vectors, no matrices."""

import math

import numpy as np
from _op_inputs import CELLS
from _op_runs import steps_of


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


PHI = (math.tanh, lambda z: max(z, 0.0), sigmoid)


def dot(numbers, matrix, column):
    return sum(float(v) * float(row[column]) for v, row in zip(numbers, matrix, strict=True))


def rnn_step(x, states, w, u, b, activation):
    """The next h; without ``b`` nothing is added."""
    (h,) = states
    return [[PHI[activation](dot(x, w, j) + dot(h, u, j) + (0.0 if b is None else float(b[j]))) for j in range(len(h))]]


def gru_step(x, states, w, u, b, b_hn):
    """The next h; without ``b_hn`` the reset gate comes before the product."""
    (h,) = states
    H = len(h)

    def sums(gate):
        return [dot(x, w, gate * H + j) + dot(h, u, gate * H + j) + float(b[gate * H + j]) for j in range(H)]

    r, z = ([sigmoid(v) for v in sums(gate)] for gate in (0, 1))
    if b_hn is None:
        met = [dot([a * v for a, v in zip(r, h, strict=True)], u, 2 * H + j) for j in range(H)]
    else:
        met = [r[j] * (dot(h, u, 2 * H + j) + float(b_hn[j])) for j in range(H)]
    n = [math.tanh(dot(x, w, 2 * H + j) + float(b[2 * H + j]) + met[j]) for j in range(H)]
    return [[(1 - z[j]) * n[j] + z[j] * h[j] for j in range(H)]]


def lstm_step(x, states, w, u, b, p=None):
    """The next h and c; ``p``: how i, f and o look at the cell."""
    h, c = states
    H = len(h)
    p_i, p_f, p_o = np.zeros((3, H)) if p is None else np.reshape(p, (3, H))

    def gate(k, j):
        return dot(x, w, k * H + j) + dot(h, u, k * H + j) + float(b[k * H + j])

    c_new = [sigmoid(gate(1, j) + float(p_f[j]) * c[j]) * c[j]
             + sigmoid(gate(0, j) + float(p_i[j]) * c[j]) * math.tanh(gate(2, j)) for j in range(H)]
    return [[sigmoid(gate(3, j) + float(p_o[j]) * c_new[j]) * math.tanh(c_new[j]) for j in range(H)], c_new]


STEPS = {"rnn": rnn_step, "gru": gru_step, "lstm": lstm_step, "lstm_peephole": lstm_step}


def written_out(cell, case):
    """The outputs of a case, each sequence alone and no longer than it is."""
    kind, x, H, D = CELLS[cell], steps_of(case), len(case["w_hh"]), 1 + ("w_ih_r" in case)
    B, T, _ = x.shape
    lengths = case.get("lengths", [T] * B)
    numbers = [case[name] for name in kind.numbers]
    y = np.zeros((B, T, D * H))
    last = [np.array(case[name]) if name in case else np.zeros((B, D * H)) for name in kind.first]
    for d, suffix in enumerate(("", "_r")[:D]):
        columns = slice(d * H, (d + 1) * H)
        weights = [case.get(name + suffix) for name in kind.weights]
        for row in range(B):
            states = [[float(v) for v in state[row, columns]] for state in last]
            steps = range(lengths[row])
            for t in reversed(steps) if d else steps:
                states = STEPS[cell](x[row, t], states, *weights, *numbers)
                y[row, t, columns] = states[0]
            for state, numbers_now in zip(last, states, strict=True):
                state[row, columns] = numbers_now
    return dict(zip(kind.outputs, [y, *last], strict=True))
