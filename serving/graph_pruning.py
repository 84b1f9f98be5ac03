"""Leaves out of a SavedModel's graph what no signature can reach, before it is loaded.

Importing a graph holds Python's lock, and requests wait for it. An exported Keras model carries
about twice the functions its signatures call: layers traced one by one, and each signature twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def prune_functions(graph: Any) -> int:
    """Remove from a `GraphDef`'s library the functions that its nodes do not call.

    Functions called by functions that stay, stay. Nothing else changes.

    Returns:
        How many were removed.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    reached: set[str] = set()
    waiting = list(_called(graph.node, functions))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(_called(functions[name].node_def, functions))
    removed = len(functions) - len(reached)
    if removed:
        kept = [functions[name] for name in functions if name in reached]
        gradients = [one for one in graph.library.gradient if one.function_name in reached]
        library = type(graph.library)(function=kept, gradient=gradients)
        graph.library.CopyFrom(library)
    return removed


def skip_shape_inference(graph: Any) -> None:
    """Tell the import not to work out the static shapes of function calls.

    It would walk through the bodies of all functions called, which takes longer than the rest of
    the import together; a session needs none of it.
    """
    for node in graph.node:
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            node.attr["_disable_call_shape_inference"].b = True


def _called(nodes: Iterable[Any], functions: dict[str, Any]) -> Iterator[str]:
    for node in nodes:
        if node.op in functions:
            yield node.op
        for value in node.attr.values():
            for name in _functions_in(value):
                if name in functions:
                    yield name


def _functions_in(value: Any) -> Iterator[str]:
    """Names of the functions in an attribute, also in the attributes of those."""
    kind = value.WhichOneof("value")
    if kind == "func":
        called = [value.func]
    elif kind == "list":
        called = list(value.list.func)
    else:
        return
    for function in called:
        yield function.name
        for nested in function.attr.values():
            yield from _functions_in(nested)
