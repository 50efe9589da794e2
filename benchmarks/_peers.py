"""The peers: the same nets and loops in NumPy and PyTorch, written as their own users would write them for speed."""

import numpy as np
import pytest

#: The characters of the addition task; a one-hot vector has one entry for each.
CHARACTERS = "0123456789+ \0"


def torch():
    """Return torch, held at one thread; skip the benchmark where it is not installed."""
    module = pytest.importorskip("torch", reason="torch is not installed: install the 'bench' extra")
    module.set_num_threads(1)
    return module


def addition_data(n, seed=0):
    """Return ``n`` addition equations: x (n, 10, 13) float32 one-hot, labels (n, 5) int64."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 10, len(CHARACTERS)), np.float32)
    labels = np.zeros((n, 5), np.int64)
    for row, (a, b) in enumerate(rng.integers(0, 1000, (n, 2))):
        question = f"{a} + {b}\0"
        for t, character in enumerate(question):
            x[row, t, CHARACTERS.index(character)] = 1
        labels[row] = [CHARACTERS.index(character) for character in f"{a + b:>4}\0"]
    return x, labels


def torch_addition_net(torch):
    """Return the addition model in PyTorch: logits (B * 5, 13) from x (B, 10, 13).

    Batch first: time first was measured at 3 to 5 % slower here, and torch's three Adams within 3 % of each other.
    """
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LSTM(13, 20, bidirectional=True, batch_first=True)
            self.norm_1 = nn.BatchNorm1d(40)
            self.decoder = nn.LSTM(40, 20, bidirectional=True, batch_first=True)
            self.norm_2 = nn.BatchNorm1d(40)
            self.out = nn.Linear(40, 13)

        def forward(self, x):
            _, (h, _) = self.encoder(x)
            h = self.norm_1(torch.cat((h[0], h[1]), dim=1))
            y, _ = self.decoder(h.unsqueeze(1).expand(-1, 5, -1))
            return self.out(self.norm_2(y.reshape(-1, 40)))

    return Net()


def torch_fit_epoch(torch, net, optimizer, x, labels, batch_size):
    """Train for one shuffled epoch, the way a user's loop does; return the mean loss."""
    total = torch.zeros(())
    order = torch.randperm(len(x))
    net.train()
    for rows in order.split(batch_size):
        optimizer.zero_grad()
        logits = net(x.index_select(0, rows))
        loss = torch.nn.functional.cross_entropy(logits, labels.index_select(0, rows).reshape(-1))
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return total.item() / len(x)


def numpy_xor(x, y, w_1, w_2, iterations):
    """Train the 3-4-1 sigmoid net by hand, full batch, learning rate 1 on half the summed squared error; in place.

    This is the loop of the well-known 11-line tutorial: two products forward, two deltas, two updates.
    """
    for _ in range(iterations):
        hidden = 1 / (1 + np.exp(-np.dot(x, w_1)))
        out = 1 / (1 + np.exp(-np.dot(hidden, w_2)))
        out_delta = (y - out) * (out * (1 - out))
        hidden_delta = out_delta.dot(w_2.T) * (hidden * (1 - hidden))
        w_2 += hidden.T.dot(out_delta)
        w_1 += x.T.dot(hidden_delta)


def numpy_binary_addition(x, y, w_ih, w_hh, w_out, rate):
    """Train the 2-16-1 recurrent sigmoid net by hand, one sequence at a time, on half the sum of squares; in place.

    The operations of the well-known tutorial: each step's products on rows of one, forward and then backward, the
    weights' updates added up over the steps and made once a sequence.
    """
    steps, hidden = x.shape[1], len(w_hh)
    for bits, target in zip(x, y, strict=True):
        states, deltas = [np.zeros((1, hidden))], []
        for t in range(steps):
            state = 1 / (1 + np.exp(-(np.dot(bits[t : t + 1], w_ih) + np.dot(states[-1], w_hh))))
            out = 1 / (1 + np.exp(-np.dot(state, w_out)))
            deltas.append((target[t] - out) * (out * (1 - out)))
            states.append(state)
        update_ih, update_hh, update_out = np.zeros_like(w_ih), np.zeros_like(w_hh), np.zeros_like(w_out)
        later = np.zeros((1, hidden))
        for t in reversed(range(steps)):
            state, delta = states[t + 1], deltas[t]
            later = (later.dot(w_hh.T) + delta.dot(w_out.T)) * (state * (1 - state))
            update_out += state.T.dot(delta)
            update_hh += states[t].T.dot(later)
            update_ih += bits[t : t + 1].T.dot(later)
        w_ih += rate * update_ih
        w_hh += rate * update_hh
        w_out += rate * update_out
