"""PyTorch's answers to the questions of ``_op_runs.py``: the same arguments in, float64 arrays out.

They hold for inputs of any size: the golden files keep the small ones, ``test_oracles_torch.py`` asks for the others.
"""

import numpy as np
import torch
import torch.nn.functional as F
from _op_inputs import live_steps
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


def recurrent(kind, I, weights, **options):
    """A torch.nn recurrent net in float64 with the given [(w_ih, w_hh, b)] of one or two directions; b may be None."""
    H = len(weights[0][1])
    net = kind(I, H, batch_first=True, bidirectional=len(weights) == 2, **options).double()
    for suffix, (w, u, bias) in zip(("", "_reverse"), weights, strict=False):
        bias = np.zeros(w.shape[1]) if bias is None else bias
        with torch.no_grad():
            getattr(net, "weight_ih_l0" + suffix).copy_(torch.tensor(w.T.copy()))
            getattr(net, "weight_hh_l0" + suffix).copy_(torch.tensor(u.T.copy()))
            getattr(net, "bias_ih_l0" + suffix).copy_(torch.tensor(0.75 * bias))  # b = b_ih + b_hh
            getattr(net, "bias_hh_l0" + suffix).copy_(torch.tensor(0.25 * bias))
    return net


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


def backward_from(*pairs):
    """Let the gradients flow: pairs of a tensor and what comes to it from above, or None."""
    sum((value * torch.tensor(d)).sum() for value, d in pairs if d is not None).backward()


def recurrent_gradients(net):
    """dw_ih, dw_hh and db of each direction, as the kernels name and lay them out."""
    out = {}
    for suffix, theirs in (("", ""), ("_r", "_reverse"))[: 1 + net.bidirectional]:
        out["dw_ih" + suffix] = getattr(net, "weight_ih_l0" + theirs).grad.T
        out["dw_hh" + suffix] = getattr(net, "weight_hh_l0" + theirs).grad.T
        out["db" + suffix] = getattr(net, "bias_ih_l0" + theirs).grad
    return out


def oracle_lstm(x, steps, w_ih, w_hh, b, w_ih_r=None, w_hh_r=None, b_r=None, h0=None, c0=None, lengths=None,
                dy=None, dh_n=None, dc_n=None):
    """torch.nn.LSTM on packed sequences."""
    weights = [(w_ih, w_hh, b), (w_ih_r, w_hh_r, b_r)][: 1 if w_ih_r is None else 2]
    net = recurrent(torch.nn.LSTM, x.shape[2], weights)
    zeros = np.zeros((len(x), len(weights) * len(w_hh)))
    tx, th0, tc0 = leaf(x), leaf(zeros if h0 is None else h0), leaf(zeros if c0 is None else c0)
    y, h_n, c_n = run_packed(net, tx, steps, (th0, tc0), lengths)
    backward_from((y, dy), (h_n, dh_n), (c_n, dc_n))
    out = {"y": y, "h_n": h_n, "c_n": c_n, "dx": tx.grad, **recurrent_gradients(net)}
    if h0 is not None:
        out |= {"dh0": th0.grad, "dc0": tc0.grad}
    return arrays(out)


class Stepped:
    """The steps of a torch.nn recurrent net by a ``cell`` that torch lacks, on packed sequences."""

    def forward(self, packed, first):
        """Torch's y, packed, and last states."""
        xs, lengths = pad_packed_sequence(packed, batch_first=True)
        y, last = torch.zeros(*xs.shape[:2], len(first) * self.hidden_size, dtype=xs.dtype), []
        for d, suffix in enumerate(("", "_reverse")[: len(first)]):
            weights = [getattr(self, f"{name}_l0{suffix}") for name in
                       ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            h = first[d]
            for t in reversed(range(xs.shape[1])) if d else range(xs.shape[1]):
                live = (t < lengths)[:, None]
                h = torch.where(live, self.cell(xs[:, t], h, *weights), h)
                index = torch.arange(d * self.hidden_size, (d + 1) * self.hidden_size)
                y = y.index_put((torch.arange(len(xs))[:, None], torch.tensor(t), index), torch.where(live, h, 0.0))
            last.append(h)
        return pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False), torch.stack(last)


class SigmoidRNN(Stepped, torch.nn.RNN):
    """torch.nn.RNN with the activation that it lacks."""

    def cell(self, x, h, w, u, b_ih, b_hh):
        """The next state."""
        return torch.sigmoid(x @ w.T + h @ u.T + b_ih + b_hh)


class ResetBeforeGRU(Stepped, torch.nn.GRU):
    """torch.nn.GRU with the reset gate before the product, as in the paper."""

    def cell(self, x, h, w, u, b_ih, b_hh):
        """The next state."""
        w_r, w_z, w_n = w.T.chunk(3, dim=1)
        u_r, u_z, u_n = u.T.chunk(3, dim=1)
        b_r, b_z, b_n = (b_ih + b_hh).chunk(3)
        r, z = torch.sigmoid(x @ w_r + h @ u_r + b_r), torch.sigmoid(x @ w_z + h @ u_z + b_z)
        return (1 - z) * torch.tanh(x @ w_n + (r * h) @ u_n + b_n) + z * h


def oracle_rnn(activation, x, steps, w_ih, w_hh, b=None, w_ih_r=None, w_hh_r=None, b_r=None, h0=None, lengths=None,
               dy=None, dh_n=None):
    """torch.nn.RNN on packed sequences; activation 0 tanh, 1 relu, 2 sigmoid."""
    weights = [(w_ih, w_hh, b), (w_ih_r, w_hh_r, b_r)][: 1 if w_ih_r is None else 2]
    if activation == 2:
        net = recurrent(SigmoidRNN, x.shape[2], weights)
    else:
        net = recurrent(torch.nn.RNN, x.shape[2], weights, nonlinearity=("tanh", "relu")[activation])
    tx, th0 = leaf(x), leaf(np.zeros((len(x), len(weights) * len(w_hh))) if h0 is None else h0)
    y, h_n = run_packed(net, tx, steps, (th0,), lengths)
    backward_from((y, dy), (h_n, dh_n))
    out = {"y": y, "h_n": h_n, "dx": tx.grad, **recurrent_gradients(net)}
    if b is None:
        out = {key: value for key, value in out.items() if key not in ("db", "db_r")}
    if h0 is not None:
        out["dh0"] = th0.grad
    return arrays(out)


def oracle_gru(x, steps, w_ih, w_hh, b, b_hn=None, w_ih_r=None, w_hh_r=None, b_r=None, b_hn_r=None, h0=None,
               lengths=None, dy=None, dh_n=None):
    """torch.nn.GRU on packed sequences, and without b_hn its other form; test_ops_gru.py asks ONNX about that one."""
    weights = [(w_ih, w_hh, b), (w_ih_r, w_hh_r, b_r)][: 1 if w_ih_r is None else 2]
    H, after = len(w_hh), b_hn is not None
    net = recurrent(torch.nn.GRU if after else ResetBeforeGRU, x.shape[2], weights)
    suffixes = [("", ""), ("_r", "_reverse")][: len(weights)]
    if after:
        with torch.no_grad():  # of n the two biases do not add up
            for (_, theirs), bias, hidden in zip(suffixes, (b, b_r), (b_hn, b_hn_r), strict=False):
                getattr(net, "bias_ih_l0" + theirs)[2 * H :] = torch.tensor(bias[2 * H :])
                getattr(net, "bias_hh_l0" + theirs)[2 * H :] = torch.tensor(hidden)
    tx, th0 = leaf(x), leaf(np.zeros((len(x), len(weights) * H)) if h0 is None else h0)
    y, h_n = run_packed(net, tx, steps, (th0,), lengths)
    backward_from((y, dy), (h_n, dh_n))
    out = {"y": y, "h_n": h_n, "dx": tx.grad, **recurrent_gradients(net)}
    if after:
        out |= {"db_hn" + ours: getattr(net, "bias_hh_l0" + theirs).grad[2 * H :] for ours, theirs in suffixes}
    if h0 is not None:
        out["dh0"] = th0.grad
    return arrays(out)


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
