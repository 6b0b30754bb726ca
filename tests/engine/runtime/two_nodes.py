"""A graph of two nodes, small enough to compile for the HTP simulator in a moment."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)


def two_nodes(rows: int | str = 4) -> bytes:
    """relu(x @ WEIGHT); `rows` may be the name of a free dimension."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Relu", ["product"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, 8]) for n in "xy"]
    weight = [numpy_helper.from_array(WEIGHT, "w")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weight)
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
