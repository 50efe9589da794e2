"""The recurrent layers whole, against torch's modules of the same names: cases, ours, theirs.

A case is a dict: the layer's options, the inputs, the weights under PyTorch's names, and the gradients that come from
above. Answers are the outputs and all gradients, those of weights under PyTorch's names.
"""

import numpy as np
from _op_inputs import as_lengths, normal

import fastnn as fnn

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
KINDS = list(GATES)


def states_of(kind):
    """The names of a layer's states."""
    return ("h", "c") if kind == "LSTM" else ("h",)


def layer_of(kind, *sizes, **options):
    """A layer by the name of its kind."""
    return getattr(fnn, kind)(*sizes, **options)


def layer_inputs(rng, kind, B, T, I, H, L=1, D=1, *, bias=True, activation="tanh", lengths=None, initial=True):
    """A case; ``initial`` gives initial states, of layers and directions side by side."""
    case = {"kind": kind, "hidden": H, "layers": L, "directions": D, "bias": bias, "activation": activation}
    case["x"] = normal(rng, B, T, I)
    for layer in range(L):
        features = D * H if layer else I
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:D]:
            case["weight_ih" + suffix] = normal(rng, GATES[kind] * H, features, scale=0.9 / np.sqrt(features))
            case["weight_hh" + suffix] = normal(rng, GATES[kind] * H, H, scale=0.9 / np.sqrt(H))
            if bias:
                case["bias_ih" + suffix] = normal(rng, GATES[kind] * H, scale=0.5)
                case["bias_hh" + suffix] = normal(rng, GATES[kind] * H, scale=0.5)
    states = states_of(kind)
    if initial:
        case |= {f"{state}_0": normal(rng, B, L * D * H, scale=0.7) for state in states}
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    case["dy"] = normal(rng, B, T, D * H)
    return case | {f"d{state}_n": normal(rng, B, L * D * H) for state in states}


def weights_of(case):
    """The case's weights."""
    return {name: array for name, array in case.items() if name.startswith(("weight", "bias_"))}


def make_layer(case, **options):
    """The layer of a case, its weights not yet those of the case."""
    if case["kind"] == "RNN":
        options["activation"] = case["activation"]
    return layer_of(
        case["kind"], case["x"].shape[2], case["hidden"], case["layers"], bidirectional=case["directions"] == 2,
        bias=case["bias"], return_state=True, **options,
    )  # fmt: skip


def run_layer(case, dtype="float64", **options):
    """Outputs and gradients of our layer in a model, through ``load_state_dict``."""
    layer = make_layer(case, **options)
    states = [name for name in ("h_0", "c_0") if name in case]
    x = fnn.Input((None, case["x"].shape[2]), name="x")
    first = [fnn.Input((case[name].shape[1],), name=name) for name in states]
    outputs = layer(x, initial_state=first) if first else layer(x)
    net = fnn.Model([x, *first], outputs, dtype=dtype, seed=0)
    layer.load_state_dict(weights_of(case))
    lengths = {"x": case.get("lengths"), **dict.fromkeys(states)} if first else case.get("lengths")
    given = [case["x"], *(case[name] for name in states)]
    results = net.forward(given if first else given[0], training=True, lengths=lengths)
    names = ["y", "h_n", "c_n"][: len(results)]
    net.zero_grad()
    gradients = net.backward([case[f"d{name}"] for name in names])
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    out = dict(zip(names, results, strict=True))
    out |= {f"d{name}": array for name, array in zip(["x", *states], gradients, strict=True)}
    return out | weight_gradients(layer)


def weight_gradients(layer):
    """The gradients of a layer's parameters as torch has them: two biases, each with the gradient of their sum."""
    out = {}
    for name, parameter in layer.parameters.items():
        kind, _, place = name.partition("_l") if "_l" in name else (name.removesuffix("_r"), "", "0")
        reverse = name.endswith("_r")
        suffix = f"_l{place.removesuffix('_r')}" + "_reverse" * reverse
        if parameter.buffer:
            continue
        if kind in ("w_ih", "w_hh"):
            out[f"dweight_{kind[2:]}{suffix}"] = parameter.grad.T.copy()
        elif kind == "b":
            out["dbias_ih" + suffix], out["dbias_hh" + suffix] = parameter.grad.copy(), parameter.grad.copy()
        elif kind == "b_hn":  # follows b
            out["dbias_hh" + suffix][-len(parameter.grad) :] = parameter.grad
    return out


def oracle_layer(kind, hidden, layers, directions, bias, activation, x, dy, dh_n, dc_n=None, h_0=None, c_0=None,
                 lengths=None, **weights):  # fmt: skip
    """torch.nn.RNN, GRU or LSTM on packed sequences; none of length 0, which torch refuses."""
    from _torch import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    B, T, I = x.shape
    options = {"nonlinearity": activation} if kind == "RNN" else {}
    net = getattr(torch.nn, kind)(
        I, hidden, layers, bias=bool(bias), batch_first=True, bidirectional=directions == 2, **options
    ).double()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def leaf(array):
        return torch.tensor(array, requires_grad=True)

    def rows(state):  # (L D, B, H) -> (B, L D H)
        return state.transpose(0, 1).reshape(B, -1)

    tx, first = leaf(x), {name: leaf(s) for name, s in (("h_0", h_0), ("c_0", c_0)) if s is not None}
    stacked = tuple(s.reshape(B, layers * directions, hidden).transpose(0, 1).contiguous() for s in first.values())
    begin = None if not stacked else stacked if kind == "LSTM" else stacked[0]
    own = np.full(B, T) if lengths is None else lengths
    packed = pack_padded_sequence(tx, torch.from_numpy(np.asarray(own)), batch_first=True, enforce_sorted=False)
    ys, last = net(packed, begin)
    y, _ = pad_packed_sequence(ys, batch_first=True, total_length=T)
    out = {"y": y, "h_n": rows(last[0] if kind == "LSTM" else last)}
    if kind == "LSTM":
        out["c_n"] = rows(last[1])
    above = {"y": dy, "h_n": dh_n, "c_n": dc_n}
    sum((value * torch.from_numpy(above[name])).sum() for name, value in out.items()).backward()
    out["dx"] = tx.grad
    out |= {f"d{name}": state.grad for name, state in first.items()}
    out |= {f"d{name}": getattr(net, name).grad for name in weights}
    return {name: value.detach().numpy() for name, value in out.items()}
