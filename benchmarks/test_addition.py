"""One epoch of the addition model, 27,000 equations in batches of 256, against the same net and loop in PyTorch."""

import _peers
from _measure import QUICK

import fastnn as fnn

EXAMPLES, BATCH = 1_000 if QUICK else 27_000, 256


def our_net():
    net = fnn.Sequential(
        fnn.LSTM(13, 20, bidirectional=True, return_sequences=False),
        fnn.BatchNorm(40),
        fnn.RepeatVector(5),
        fnn.LSTM(40, 20, bidirectional=True),
        fnn.BatchNorm(40),
        fnn.Linear(40, 13),
        fnn.Softmax(),
        dtype="float32",
        seed=0,
    )
    net.compile(optimizer=fnn.Adam(lr=0.01), loss="categorical_crossentropy")
    return net


def test_epoch(report):
    torch = _peers.torch()
    torch.manual_seed(0)
    x, labels = _peers.addition_data(EXAMPLES)

    net = our_net()
    peer = _peers.torch_addition_net(torch)
    optimizer = torch.optim.Adam(peer.parameters(), lr=0.01)
    tx, tlabels = torch.from_numpy(x), torch.from_numpy(labels)

    def ours():
        return net.fit(x, labels, epochs=1, batch_size=BATCH, verbose=0)

    def theirs():
        return _peers.torch_fit_epoch(torch, peer, optimizer, tx, tlabels, BATCH)

    # Both learn: the same net at the same speed of learning, or the comparison is of different work.
    first = ours().history["loss"][-1], theirs()
    report.compare("addition epoch", ours, theirs, peer="torch", repeat=3, min_time=0)
    last = ours().history["loss"][-1], theirs()
    assert last[0] < first[0]
    assert last[1] < first[1]
