"""Files of models with a user's own parts: what a file needs to be loaded, and what none can hold."""

import json

import numpy as np
import pytest
from _custom import Failing, FailingPart, MyTanh, mean_absolute_error, my_mse, net_with

import fastnn as fnn


def saved(tmp_path, net):
    path = tmp_path / "model.safetensors"
    net.save(path)
    return path


def test_a_file_says_what_it_needs(tmp_path):
    net = net_with(MyTanh())
    net.compile("sgd", my_mse, ["accuracy", mean_absolute_error])
    path = saved(tmp_path, net)
    parts = {"MyTanh": MyTanh, "my_mse": my_mse, "mean_absolute_error": mean_absolute_error}
    message = r"parts that are not the library's, MyTanh, my_mse, mean_absolute_error: expected them in load\("
    with pytest.raises(ValueError, match=message):
        fnn.load(path)
    with pytest.raises(ValueError, match=r"library's, my_mse: expected .*custom=\{'my_mse': my_mse\}\), got \["):
        fnn.load(path, custom={key: parts[key] for key in ("MyTanh", "mean_absolute_error")})
    for wrong, what in (
        ({"MyTanh": fnn.Tanh}, "a subclass of CustomLayer for 'MyTanh'"),
        ({"MyTanh": MyTanh()}, "a subclass of CustomLayer for 'MyTanh'"),
        ({"my_mse": MyTanh}, "a function for 'my_mse'"),
        ({"my_mse": 3}, "a function for 'my_mse'"),
    ):
        with pytest.raises(ValueError, match=f"custom: expected {what}, got"):
            fnn.load(path, custom=parts | wrong)
    with pytest.raises(TypeError, match=r"custom: expected a dict of names to classes and functions, got \['MyTanh'\]"):
        fnn.load(path, custom=["MyTanh"])
    assert fnn.load(path, custom=parts | {"more": 1}).loss.name == "my_mse"


def test_a_class_that_has_changed_since(tmp_path):
    path = saved(tmp_path, net_with(Failing("forward", 3)))

    class Other(fnn.CustomLayer):
        def __init__(self, rate):
            pass

    with pytest.raises(ValueError, match=r"custom: expected 'Failing' to take .*'at': 3\}, got TypeError: "):
        fnn.load(path, custom={"Failing": Other})


@pytest.mark.parametrize(
    ("part", "value"),
    [("loss", lambda y, t: (0.0, y)), ("metric", lambda y, t: 0.0), ("metric", FailingPart(mean_absolute_error, 0))],
)
def test_parts_without_a_name_are_not_saved(tmp_path, part, value):
    net = net_with(MyTanh())
    if isinstance(value, FailingPart):
        del value.__name__
    net.compile("sgd", value if part == "loss" else "mse", [] if part == "loss" else [value])
    with pytest.raises(ValueError, match=rf"save: expected a {part} with a name to find it by .*; define it with def"):
        net.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": np.ones(3)}, r"Keeps: argument scale: expected a number, string, list or dict .*, got array\(\[1"),
        ({"scale": lambda x: x}, r"Keeps: argument scale: expected .*; override the property 'config'"),
        ({"scale": 1, "more": {1j}}, r"Keeps: argument more: expected"),
    ],
)
def test_arguments_that_a_file_cannot_hold(tmp_path, arguments, message):
    class Keeps(MyTanh):
        def __init__(self, scale, **rest):
            pass

    net = net_with(Keeps(**arguments))
    with pytest.raises(ValueError, match=message):
        net.save(tmp_path / "model.safetensors")


def test_arguments_without_names_are_not_kept(tmp_path):
    class Keeps(MyTanh):
        def __init__(self, *sizes):
            pass

    with pytest.raises(ValueError, match=r"Keeps: argument \*sizes: .*a file keeps arguments by name"):
        net_with(Keeps(1, 2)).save(tmp_path / "model.safetensors")


def test_a_config_of_ones_own(tmp_path):
    class Keeps(MyTanh):
        def __init__(self, table):
            self.table = np.asarray(table)

        @property
        def config(self):
            return {"table": self.table.tolist()}

    path = saved(tmp_path, net_with(Keeps(np.arange(3))))
    again = fnn.load(path, custom={"Keeps": Keeps})
    assert json.dumps(again.layers[3].config) == '{"table": [0, 1, 2]}'
