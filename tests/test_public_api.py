"""The public names: all of them listed, each with a docstring that says what goes in and out, and an example."""

import importlib
import inspect
import re

import pytest

import fastnn as fnn

MODULES = ["functional", "initializers", "losses", "metrics", "optimizers"]
#: What a user calls on a model; the other methods are the house's own.
METHODS = [
    "predict", "forward", "backward", "zero_grad", "compile", "fit", "evaluate", "train_on_batch", "test_on_batch",
    "state_dict", "load_state_dict", "save", "summary", "add",
]  # fmt: skip


def functions_of(module):
    """Public functions and classes that a module defines itself, or lists in its ``__all__``."""
    listed = getattr(module, "__all__", None)
    for name, thing in vars(module).items():
        if name.startswith("_") or not callable(thing) or inspect.ismodule(thing):
            continue
        if listed is not None:
            if name in listed:
                yield name, thing
        elif getattr(thing, "__module__", "") == module.__name__:
            yield name, thing


def public():
    found = {name: getattr(fnn, name) for name in fnn.__all__ if callable(getattr(fnn, name))}
    for module in MODULES:
        for name, thing in functions_of(importlib.import_module(f"fastnn.{module}")):
            found[f"{module}.{name}"] = thing
    return found


PUBLIC = public()
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if not inspect.isclass(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}
USED = {f"Sequential.{name}": getattr(fnn.Sequential, name) for name in METHODS}
USED |= {
    "Layer.state_dict": fnn.Layer.state_dict, "Layer.load_state_dict": fnn.Layer.load_state_dict,
    "Adam.attach": fnn.Adam.attach, "Adam.step": fnn.Adam.step,
}  # fmt: skip


def sections(docstring):
    """Titles of a numpydoc docstring's sections, each with its text."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parameters_of(thing):
    try:
        signature = inspect.signature(thing)
    except ValueError:  # an entry point without one
        return []
    return [name for name in signature.parameters if name not in ("self", "args", "kwargs")]


def documented(text):
    """Names in a Parameters section: ``a, b : type`` documents both."""
    heads = re.findall(r"^([\w*\\, ]+?)(?: : .*)?$", text, flags=re.M)
    return {name.strip(" *\\") for head in heads for name in head.split(",")}


def test_every_public_name_is_listed():
    own = {
        name
        for name, thing in vars(fnn).items()
        if not name.startswith("_") and (not inspect.ismodule(thing) or name in MODULES)
    }
    assert own | {"__version__"} == set(fnn.__all__)
    assert len(set(fnn.__all__)) == len(fnn.__all__)


def test_star_import_gives_the_public_names():
    names = {}
    exec("from fastnn import *", names)
    assert set(fnn.__all__) <= set(names)


@pytest.mark.parametrize("module", ["layers", *MODULES])
def test_lists_of_modules_hold_what_there_is(module):
    module = importlib.import_module(f"fastnn.{module}")
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name)


def test_every_layer_is_a_public_name():
    assert set(importlib.import_module("fastnn.layers").__all__) <= set(fnn.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_exist_and_begin_with_a_sentence(name):
    docstring = PUBLIC[name].__doc__
    assert docstring, name
    assert docstring[0].strip(), "the summary stands on the first line"
    assert docstring.strip().splitlines()[0].rstrip().endswith((".", ":")), "the summary is one line and a sentence"


@pytest.mark.parametrize("name", FUNCTIONS | USED)
def test_functions_say_what_goes_in_and_out(name):
    function = (FUNCTIONS | USED)[name]
    parts = sections(function.__doc__)
    names = parameters_of(function)
    if names:
        missing = set(names) - documented(parts.get("Parameters", ""))
        assert not missing, f"{name} does not document {sorted(missing)}"
    returns = inspect.signature(function).return_annotation if names else None
    if returns not in (None, "None", inspect.Signature.empty) and "Sequential.add" not in name and "attach" not in name:
        assert "Returns" in parts, f"{name} does not say what it returns"


@pytest.mark.parametrize("name", CLASSES)
def test_classes_document_their_arguments(name):
    cls = CLASSES[name]
    if cls.__init__ is object.__init__:
        return
    names = parameters_of(cls)
    parents = "".join(sections(base.__doc__).get("Parameters", "") for base in cls.__mro__[:-1] if base.__doc__)
    missing = {n for n in names if n != "layers"} - documented(parents)
    assert not missing, f"{name} does not document {sorted(missing)}"


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in ("Layer", "Model")])
def test_examples(name):
    """Of functions and classes; those of a loss class stand at the function of its name."""
    if isinstance(PUBLIC[name], type) and name.startswith(("losses.", "metrics.", "optimizers.Optimizer")):
        return
    if name.endswith((".get", ".check_lengths", ".is_binary")):
        return  # the house's own
    assert ">>> " in sections(PUBLIC[name].__doc__).get("Examples", ""), f"{name} has no example"


def test_public_signatures_have_types():
    """What py.typed promises: every argument and result of a public function is annotated."""
    for name, function in {**FUNCTIONS, **USED}.items():
        if name.startswith("functional.") or name == "dot":
            continue  # entry points of either backend
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in signature.parameters.values():
            if parameter.name != "self":
                assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter.name}"
