"""PyTorch's answers to the questions of ``_op_runs.py``: the same arguments in, float64 arrays out.

They hold for inputs of any size: the golden files keep the small ones, ``test_oracles_torch.py`` asks for the others.
"""

import numpy as np
import torch.nn.functional as F
from _op_inputs import CELLS, live_steps
from _torch import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def leaf(array):
    """Return a float64 tensor that gathers a gradient."""
    return torch.tensor(np.asarray(array, np.float64), requires_grad=True)


def oracle_linear(x, w, dy, b=None):
    """torch.nn.functional.linear."""
    tx, tw, tb = leaf(x), leaf(w), None if b is None else leaf(b)
    y = F.linear(tx, tw.T, tb)
    y.backward(torch.tensor(dy))
    out = {"y": y, "dx": tx.grad, "dw": tw.grad}
    if b is not None:
        out["db"] = tb.grad
    return arrays(out)


def oracle_activation(name, x, dy):
    """torch.sigmoid, tanh, relu, softmax."""
    tx = leaf(x)
    y = torch.softmax(tx, -1) if name == "softmax" else getattr(torch, name)(tx)
    y.backward(torch.tensor(dy))
    return arrays({"y": y, "dx": tx.grad})


def oracle_rescale(x, dy, scale, offset):
    """Torch's scale x + offset."""
    tx = leaf(x)
    y = torch.add(torch.tensor(offset, dtype=torch.float64), tx, alpha=scale)
    y.backward(torch.tensor(dy))
    return arrays({"y": y, "dx": tx.grad})


def oracle_batchnorm(x, gamma, beta, running_mean, running_var, dy, momentum, eps, lengths=None):
    """torch.nn.functional.batch_norm over the rows that are not padding; padding has y, but no gradient."""
    tx, tgamma, tbeta = leaf(x), leaf(gamma), leaf(beta)
    rows = tx.reshape(-1, x.shape[-1])
    if lengths is not None:
        rows = rows[torch.tensor(live_steps(*x.shape[:2], lengths).reshape(-1))]
    mean, var = torch.tensor(running_mean), torch.tensor(running_var)
    d = torch.tensor(dy).reshape(-1, x.shape[-1])
    if lengths is not None:
        d = d[torch.tensor(live_steps(*x.shape[:2], lengths).reshape(-1))]
    F.batch_norm(rows, mean, var, tgamma, tbeta, True, momentum, eps).backward(d)
    with torch.no_grad():
        own = rows.mean(0), rows.var(0, unbiased=False)
        every = torch.tensor(x).reshape(-1, x.shape[-1])
        y = F.batch_norm(every, *own, tgamma, tbeta, False, 0.0, eps).reshape(x.shape)
        y_inference = F.batch_norm(every, mean, var, tgamma, tbeta, False, 0.0, eps).reshape(x.shape)
    return arrays({"y": y, "dx": tx.grad, "y_inference": y_inference, "running_mean": mean, "running_var": var,
                   "dgamma": tgamma.grad, "dbeta": tbeta.grad})


def recurrent_net(cell, case):
    """A torch.nn recurrent net in float64 with the weights of a case, or one by torch's steps where torch lacks it."""
    H = len(case["w_hh"])
    options = {"batch_first": True, "bidirectional": "w_ih_r" in case}
    kind = {"lstm": torch.nn.LSTM, "lstm_peephole": PeepholeLSTM}.get(cell)
    if cell == "gru":
        kind = torch.nn.GRU if "b_hn" in case else ResetBeforeGRU
    elif cell == "rnn":
        kind = SigmoidRNN if case["activation"] == 2 else torch.nn.RNN
        options["nonlinearity"] = ("tanh", "relu", "tanh")[case["activation"]]
    net = kind(case["x"].shape[2], H, **options).double()
    for ours, theirs in directions(net):
        b = case.get("b" + ours, np.zeros(case["w_ih" + ours].shape[1]))
        parts = {"weight_ih": case["w_ih" + ours].T, "weight_hh": case["w_hh" + ours].T,
                 "bias_ih": 0.75 * b, "bias_hh": 0.25 * b}  # b = b_ih + b_hh
        if "b_hn" + ours in case:  # of n the two biases do not add up
            parts["bias_ih"][2 * H :], parts["bias_hh"][2 * H :] = b[2 * H :], case["b_hn" + ours]
        if "p" + ours in case:
            setattr(net, "peephole" + theirs, torch.nn.Parameter(torch.tensor(case["p" + ours])))
        with torch.no_grad():
            for name, array in parts.items():
                getattr(net, name + theirs).copy_(torch.tensor(array.copy()))
    return net


def directions(net):
    """The ends of the names of each direction's weights: ours, and torch's."""
    return [("", "_l0"), ("_r", "_l0_reverse")][: 1 + net.bidirectional]


def run_packed(net, x, steps, states, lengths):
    """y, and the states (B, D H) after it; a sequence of length 0, which torch refuses, leaves them as they were."""
    B, _, I = x.shape
    D, H = 1 + net.bidirectional, net.hidden_size
    own = np.full(B, steps) if lengths is None else np.asarray(lengths)
    alive = torch.tensor(np.flatnonzero(own > 0))
    y = torch.zeros(B, steps, D * H, dtype=torch.float64)
    if len(alive):
        packed = pack_padded_sequence(x.expand(B, steps, I)[alive], torch.tensor(own[own > 0]), batch_first=True,
                                      enforce_sorted=False)
        first = tuple(s[alive].reshape(-1, D, H).transpose(0, 1).contiguous() for s in states)
        ys, last = net(packed, first if len(first) > 1 else first[0])
        ys, _ = pad_packed_sequence(ys, batch_first=True, total_length=steps)
        y = y.index_copy(0, alive, ys)
        last = last if len(first) > 1 else (last,)
        states = [old.index_copy(0, alive, new.transpose(0, 1).reshape(-1, D * H))
                  for old, new in zip(states, last, strict=True)]
    return y, *states


class Stepped:
    """The steps of a torch.nn recurrent net by a ``cell`` that torch lacks, on packed sequences."""

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def forward(self, packed, first):
        """Torch's y, packed, and last states."""
        xs, lengths = pad_packed_sequence(packed, batch_first=True)
        first = first if isinstance(first, tuple) else (first,)
        live = torch.arange(xs.shape[1])[:, None, None] < lengths[:, None]
        outputs, last = [], []
        for d, (_, theirs) in enumerate(directions(self)):
            weights = [getattr(self, name + theirs) for name in self.names]
            states = tuple(state[d] for state in first)
            steps = range(xs.shape[1])
            ys = [None] * len(steps)
            for t in reversed(steps) if d else steps:
                after = self.cell(xs[:, t], *states, *weights)
                states = tuple(torch.where(live[t], new, old) for new, old in zip(after, states, strict=True))
                ys[t] = torch.where(live[t], states[0], 0.0)
            outputs.append(torch.stack(ys, dim=1))
            last.append(states)
        last = tuple(torch.stack(state) for state in zip(*last, strict=True))
        ys = pack_padded_sequence(torch.cat(outputs, dim=2), lengths, batch_first=True, enforce_sorted=False)
        return ys, last if len(last) > 1 else last[0]


class SigmoidRNN(Stepped, torch.nn.RNN):
    """torch.nn.RNN with the activation that it lacks."""

    def cell(self, x, h, w, u, b_ih, b_hh):
        """The next state."""
        return (torch.sigmoid(x @ w.T + h @ u.T + b_ih + b_hh),)


class ResetBeforeGRU(Stepped, torch.nn.GRU):
    """torch.nn.GRU with the reset gate before the product, as in the paper."""

    def cell(self, x, h, w, u, b_ih, b_hh):
        """The next state."""
        w_r, w_z, w_n = w.T.chunk(3, dim=1)
        u_r, u_z, u_n = u.T.chunk(3, dim=1)
        b_r, b_z, b_n = (b_ih + b_hh).chunk(3)
        r, z = torch.sigmoid(x @ w_r + h @ u_r + b_r), torch.sigmoid(x @ w_z + h @ u_z + b_z)
        return ((1 - z) * torch.tanh(x @ w_n + (r * h) @ u_n + b_n) + z * h,)


class PeepholeLSTM(Stepped, torch.nn.LSTM):
    """torch.nn.LSTM whose gates also look at the cell, as in Gers, Schraudolph and Schmidhuber (2002)."""

    names = (*Stepped.names, "peephole")

    def cell(self, x, h, c, w, u, b_ih, b_hh, p):
        """The next states."""
        i, f, g, o = (x @ w.T + h @ u.T + b_ih + b_hh).chunk(4, dim=1)
        p_i, p_f, p_o = p.chunk(3)
        after = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + p_o * after) * torch.tanh(after), after


def oracle_recurrent(cell, **case):
    """torch.nn.RNN, GRU and LSTM on packed sequences, in torch's steps the forms that torch lacks."""
    kind, net = CELLS[cell], recurrent_net(cell, case)
    x, zeros = leaf(case["x"]), np.zeros((len(case["x"]), len(directions(net)) * net.hidden_size))
    first = {name: leaf(case.get(name, zeros)) for name in kind.first}
    results = run_packed(net, x, case["steps"], tuple(first.values()), case.get("lengths"))
    out = dict(zip(kind.outputs, results, strict=True))
    sum((value * torch.tensor(case["d" + name])).sum() for name, value in out.items() if "d" + name in case).backward()
    out["dx"] = x.grad
    for ours, theirs in directions(net):
        named = {name: getattr(net, name + theirs).grad for name in getattr(net, "names", Stepped.names)}
        gradients = {"w_ih": named["weight_ih"].T, "w_hh": named["weight_hh"].T, "b": named["bias_ih"],
                     "b_hn": named["bias_hh"][-net.hidden_size :], "p": named.get("peephole")}
        out |= {f"d{name}{ours}": array for name, array in gradients.items() if name + ours in case}
    return arrays(out | {"d" + name: state.grad for name, state in first.items() if name in case})


def oracle_multiply(x, g, dy):
    """Torch's broadcast product."""
    tx, tg = leaf(x), leaf(g)
    y = tx * tg
    y.backward(torch.tensor(dy))
    return arrays({"y": y, "dx": tx.grad, "dg": tg.grad})


def oracle_embedding(x, w, dy, padding):
    """torch.nn.functional.embedding; torch has no gradient for the class numbers, where the kernels write 0."""
    tw = leaf(w)
    y = F.embedding(torch.tensor(x).long(), tw, padding_idx=None if padding < 0 else padding)
    y.backward(torch.tensor(dy))
    return {**arrays({"y": y, "dw": tw.grad}), "dx": np.zeros_like(x)}


def oracle_loss(name, y, target=None, labels=None, weight=None, lengths=None, mean=1, count=-1):
    """Torch's own losses and, without weights and padding, torch's own reductions."""
    ty, features = leaf(y), y.shape[-1]
    t = None if target is None else torch.tensor(target)
    flat = None if labels is None else torch.tensor(labels).reshape(-1)

    def loss(reduction):
        if name == "mse_loss":
            return F.mse_loss(ty, t, reduction=reduction)
        if name == "binary_crossentropy_loss":
            return F.binary_cross_entropy(ty, t, reduction=reduction)
        if name == "sigmoid_binary_crossentropy_loss":
            return F.binary_cross_entropy_with_logits(ty, t, reduction=reduction)
        rows = ty.reshape(-1, features)
        if name == "softmax_crossentropy_loss":
            result = F.cross_entropy(rows, flat if t is None else t.reshape(-1, features), reduction=reduction)
        elif t is None:
            result = F.nll_loss(torch.log(rows), flat, reduction=reduction)
        else:
            each = torch.special.xlogy(t.reshape(-1, features), rows).sum(-1).neg()
            result = {"none": each, "mean": each.mean(), "sum": each.sum()}[reduction]
        return result.reshape(y.shape[:-1]) if reduction == "none" else result

    if weight is None and lengths is None and count < 0:
        value = loss("mean" if mean else "sum")
    else:
        each = loss("none")
        per_row = each.ndim == y.ndim - 1
        rows = each if per_row else each.sum(-1)
        live = live_steps(*y.shape[:-1], lengths) if y.ndim == 3 else np.ones(len(y), bool)
        w = np.ones(live.shape) if weight is None else weight if y.ndim == 3 else weight.reshape(-1)
        value = (rows * torch.tensor(live * w)).sum()
        if mean:
            value = value / ((count if count >= 0 else live.sum()) * (1 if per_row else features))
    value.backward()
    return arrays({"value": value, "dy": ty.grad})


def oracle_optimizer(kind, params, grads, rates, momentum=0.0, nesterov=0, weight_decay=0.0, betas=(0.9, 0.999),
                     eps=1e-8):
    """torch.optim.SGD, Adam, and AdamW where there is weight decay."""
    p = leaf(params)
    if kind == "sgd":
        optimizer = torch.optim.SGD([p], lr=1.0, momentum=momentum, nesterov=bool(nesterov), weight_decay=weight_decay)
    elif weight_decay:
        optimizer = torch.optim.AdamW([p], lr=1.0, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
    else:
        optimizer = torch.optim.Adam([p], lr=1.0, betas=tuple(betas), eps=eps)
    trajectory = []
    for gradient, rate in zip(grads, rates, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        p.grad = torch.tensor(gradient)
        optimizer.step()
        trajectory.append(p.detach().numpy().copy())
    return {"trajectory": np.stack(trajectory)}


def oracle_clip(parts, max_norm):
    """torch.nn.utils.clip_grad_norm_ over the gradients of several parameters."""
    tensors = [leaf(part) for part in parts]
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.grad = torch.tensor(part)
    torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    return [tensor.grad.numpy() for tensor in tensors]


def arrays(tensors):
    """Return contiguous NumPy arrays; a number becomes a 0-d array."""
    return {key: np.ascontiguousarray(value.detach().numpy()).reshape(value.shape) for key, value in tensors.items()}
