"""The two packages of kernels are twins: the same modules, the same public names, the same signatures."""

import importlib
import inspect
import pkgutil

import pytest

from fastnn import _backend, _reference

#: Modules of the compiled package without a kernel of their own: the calling convention, leaves at the CPU level, and
#: the recurrent kernels' C functions.
INFRASTRUCTURE = {"kernel", "recurrent_api", "simd", "simd_gru", "simd_rnn"}


def twins(family):
    return importlib.import_module(f"fastnn._reference.{family}"), importlib.import_module(f"fastnn._compiled.{family}")


def parameters(routine):
    """Names, kinds and defaults of a function, or of each public method of a class.

    Annotations are the compiled side's own business; how an extension type is made cannot be asked for.
    """
    if inspect.isclass(routine):
        return {
            name: parameters(method)
            for name, method in vars(routine).items()
            if not name.startswith("_") and inspect.isroutine(method)
        }
    return [(p.name, p.kind.description, p.default) for p in inspect.signature(routine).parameters.values()]


def test_every_reference_module_is_a_family():
    modules = {module.name for module in pkgutil.iter_modules(_reference.__path__) if not module.name.startswith("_")}
    assert modules == set(_backend.FAMILIES)


@pytest.mark.usefixtures("compiled_core")
def test_the_compiled_package_holds_the_same_modules():
    from fastnn import _compiled

    modules = {module.name for module in pkgutil.iter_modules(_compiled.__path__)}
    assert modules - INFRASTRUCTURE == set(_backend.FAMILIES)


@pytest.mark.parametrize("family", _backend.FAMILIES)
def test_reference_names_are_sorted_functions_of_the_module(family):
    module = importlib.import_module(f"fastnn._reference.{family}")
    assert list(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert inspect.isroutine(getattr(module, name)) or inspect.isclass(getattr(module, name))


@pytest.mark.parametrize("family", _backend.FAMILIES)
@pytest.mark.usefixtures("compiled_core")
def test_the_same_names(family):
    reference, compiled = twins(family)
    assert sorted(compiled.__all__) == sorted(reference.__all__)


@pytest.mark.parametrize("family", _backend.FAMILIES)
@pytest.mark.usefixtures("compiled_core")
def test_the_same_signatures(family):
    reference, compiled = twins(family)
    differing = {}
    for name in reference.__all__:
        ours, theirs = parameters(getattr(reference, name)), parameters(getattr(compiled, name))
        if ours != theirs:
            differing[name] = f"reference {ours}, compiled {theirs}"
    assert not differing


@pytest.mark.parametrize("family", _backend.FAMILIES)
def test_every_reference_function_says_what_it_computes(family):
    module = importlib.import_module(f"fastnn._reference.{family}")
    silent = [name for name in module.__all__ if not (getattr(module, name).__doc__ or "").strip()]
    assert silent == []


def test_no_name_belongs_to_two_families():
    owners = {}
    for family in _backend.FAMILIES:
        for name in importlib.import_module(f"fastnn._reference.{family}").__all__:
            owners.setdefault(name, []).append(family)
    # One namespace holds them all (_backend.kernels): a name given twice would hide one of the two.
    assert {name: families for name, families in owners.items() if len(families) > 1} == {}
