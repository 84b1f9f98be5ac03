"""The examples in the docstrings run and print what they say; every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest

import easq_keras

# Needs Keras 2, which only a process of its own can have.
ELSEWHERE = {"easq_keras.tfrs"}
FOUND = sorted(pkgutil.walk_packages(easq_keras.__path__, "easq_keras."), key=lambda m: m.name)
MODULES = [module.name for module in FOUND if module.name not in ELSEWHERE]
PACKAGES = [module.name for module in FOUND if module.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    keras.utils.set_random_seed(0)
    module = importlib.import_module(name)
    names = {"np": np, "keras": keras, "ops": keras.ops, **vars(module)}
    failed, _ = doctest.testmod(
        module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert failed == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_example(package: str) -> None:
    module = importlib.import_module(package)
    public = {name: getattr(module, name) for name in module.__all__}
    without = [
        name
        for name, value in public.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and ">>>" not in (inspect.getdoc(value) or "")
    ]
    assert without == []
