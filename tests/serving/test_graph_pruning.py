"""What stays of a graph: everything its nodes can reach, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from serving.graph_pruning import prune_functions, skip_shape_inference


def graph_of(
    calls: dict[str, list[str]], main: list[str], gradients: dict[str, str]
) -> graph_pb2.GraphDef:
    """A graph whose functions call each other as told."""
    graph = graph_pb2.GraphDef()
    for name, called in calls.items():
        function = graph.library.function.add()
        function.signature.name = name
        for one in called:
            function.node_def.add(op=one)
    for one in main:
        graph.node.add(op="PartitionedCall").attr["f"].func.name = one
    for name, gradient in gradients.items():
        graph.library.gradient.add(function_name=name, gradient_func=gradient)
    return graph


def names(graph: graph_pb2.GraphDef) -> list[str]:
    return [function.signature.name for function in graph.library.function]


def test_functions_stay_that_are_called_from_somewhere() -> None:
    graph = graph_of(
        {"a": ["b"], "b": ["b"], "c": ["d"], "d": [], "e": ["a"]},
        main=["a"],
        gradients={"b": "d", "c": "d"},
    )
    assert prune_functions(graph) == 3
    assert names(graph) == ["a", "b"]
    assert [one.function_name for one in graph.library.gradient] == ["b"]
    assert prune_functions(graph) == 0


def test_functions_in_lists_and_in_attributes_of_functions_are_called() -> None:
    graph = graph_of({"branch": [], "nested": [], "unused": []}, main=[], gradients={})
    case = graph.node.add(op="Case")
    case.attr["branches"].list.func.add(name="branch").attr["f"].func.name = "nested"
    case.attr["unrelated"].s = b"unused"
    assert prune_functions(graph) == 1
    assert names(graph) == ["branch", "nested"]


def test_an_exported_model_carries_functions_that_nothing_calls(saved_models: Path) -> None:
    model = saved_model_pb2.SavedModel.FromString(
        (saved_models / "slates" / "1" / "saved_model.pb").read_bytes()
    )
    graph = model.meta_graphs[0].graph_def
    before = len(graph.library.function)
    assert prune_functions(graph) > 0
    assert 0 < len(graph.library.function) < before


def test_shapes_of_calls_are_not_inferred_at_import() -> None:
    graph = graph_of({"a": []}, main=["a"], gradients={})
    graph.node.add(op="MatMul")
    skip_shape_inference(graph)
    call, matmul = graph.node
    assert call.attr["_disable_call_shape_inference"].b
    assert not matmul.attr
