"""Graphs written and read: same bytes every time, and no external file goes unseen."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import ModelBroken
from engine.models.graph import GraphWriter, external_data_files
from engine.runtime.session import Session

WEIGHTS = np.arange(4 * 512, dtype=np.float32).reshape(4, 512) / 512


def write(onnx_file: Path, *, external_data: bool) -> None:
    with GraphWriter(onnx_file, external_data=external_data) as graph:
        x = graph.input("x", np.float32, ["rows", 4])
        small = graph.constant("small", np.ones(512, np.float32)[:8])
        y = graph.node("MatMul", [x, graph.constant("weights", WEIGHTS)])
        y = graph.node("Add", [y, graph.node("ReduceMax", [small], keepdims=0)], ["y"])
        graph.output(y, np.float32, ["rows", 512])


def external(name: str, location: str | None) -> TensorProto:
    tensor = TensorProto(name=name, dims=[1], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    if location is not None:
        tensor.external_data.add(key="location", value=location)
    return tensor


def constant(location: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=external("c", location))


def graph_of(*nodes: onnx.NodeProto, **parts) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "graph", [], [], **parts)


def save(onnx_file: Path, graph: onnx.GraphProto, **parts) -> Path:
    onnx_file.write_bytes(helper.make_model(graph, **parts).SerializeToString())
    return onnx_file


def branch(location: str) -> onnx.NodeProto:
    taken, other = graph_of(constant(location)), graph_of()
    return helper.make_node("If", ["x"], ["y"], then_branch=taken, else_branch=other)


def sparse(location: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(
        values=external("v", location), indices=external("i", location + ".indices"), dims=[9]
    )


def function(location: str) -> onnx.FunctionProto:
    opset = [helper.make_opsetid("", 20)]
    return helper.make_function("own", "F", [], ["c"], [constant(location)], opset)


PLACES = {
    "an initialiser": (graph_of(initializer=[external("w", "a.data")]), {}),
    "a Constant node": (graph_of(constant("a.data")), {}),
    "a subgraph of a subgraph": (
        graph_of(helper.make_node("Loop", [""], ["y"], body=graph_of(branch("a.data")))),
        {},
    ),
    "a list of tensors": (
        graph_of(helper.make_node("Own", [], ["y"], domain="own", t=[external("t", "a.data")])),
        {},
    ),
    "a list of subgraphs": (
        graph_of(
            helper.make_node("Own", [], ["y"], domain="own", g=[graph_of(constant("a.data"))])
        ),
        {},
    ),
    "a function": (graph_of(), {"functions": [function("a.data")]}),
    "a sparse attribute": (
        graph_of(helper.make_node("Constant", [], ["c"], sparse_value=sparse("a.data"))),
        {},
    ),
}


@pytest.mark.parametrize("external_data", [False, True])
def test_a_written_graph_runs(tmp_path, external_data):
    write(tmp_path / "model.onnx", external_data=external_data)
    session = Session.open(tmp_path / "model.onnx", threads=1)
    x = np.eye(2, 4, dtype=np.float32)
    (y,) = session.run({"x": x}, ["y"])
    np.testing.assert_array_equal(y, WEIGHTS[:2] + 1)
    onnx.checker.check_model(str(tmp_path / "model.onnx"))


@pytest.mark.parametrize("external_data", [False, True])
def test_writing_again_gives_the_same_bytes(tmp_path, external_data):
    names = ["model.onnx", "model.onnx.data"][: 1 + external_data]
    write(tmp_path / "model.onnx", external_data=external_data)
    first = [(tmp_path / name).read_bytes() for name in names]
    write(tmp_path / "model.onnx", external_data=external_data)
    assert [(tmp_path / name).read_bytes() for name in names] == first
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_a_stale_data_file_is_replaced_not_appended_to(tmp_path):
    (tmp_path / "model.onnx.data").write_bytes(b"stale" * 10_000)
    write(tmp_path / "model.onnx", external_data=True)
    assert (tmp_path / "model.onnx.data").stat().st_size == WEIGHTS.nbytes


def write_and_fail(onnx_file: Path) -> None:
    with GraphWriter(onnx_file, external_data=True) as graph:
        graph.constant("weights", WEIGHTS)
        raise OSError("the disk is full")


def test_a_graph_left_with_an_error_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="full"):
        write_and_fail(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from engine.models.graph import GraphWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
external, size = sys.argv[2] == "data", int(sys.argv[3])
try:
    with GraphWriter(Path(sys.argv[1]), external_data=external) as graph:
        graph.constant("weights", np.ones(size, np.float32))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits of file size")
@pytest.mark.parametrize("place", ["model", "data"])
@pytest.mark.parametrize("size", [5_001, 50_000])
def test_a_graph_that_cannot_be_written_to_its_end_leaves_no_file(tmp_path, place, size):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "model.onnx"), place, str(size)]
    assert subprocess.check_output(command, text=True).strip() == "File too large"
    assert list(tmp_path.iterdir()) == []


def test_external_tensors_are_aligned_and_small_ones_stay_inside(tmp_path):
    with GraphWriter(tmp_path / "model.onnx", external_data=True) as graph:
        graph.constant("a", np.ones(301, np.float32))
        graph.constant("shape", np.array([1, -1]))
        graph.constant("b", np.ones(300, np.float32))
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    a, shape, b = model.graph.initializer
    assert not shape.external_data
    offsets = [
        int(entry.value) for t in (a, b) for entry in t.external_data if entry.key == "offset"
    ]
    assert offsets == [0, 1216]


def test_a_model_without_external_data_names_no_file(tmp_path):
    write(tmp_path / "model.onnx", external_data=False)
    assert external_data_files(tmp_path / "model.onnx") == []


def test_a_model_names_each_external_file_once(tmp_path):
    tensors = [external(str(n), name) for n, name in enumerate(["b.data", "a.data", "b.data"])]
    file = save(tmp_path / "model.onnx", graph_of(initializer=tensors))
    assert external_data_files(file) == ["b.data", "a.data"]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_in(tmp_path, place):
    graph, parts = PLACES[place]
    file = save(tmp_path / "model.onnx", graph, **parts)
    assert "a.data" in external_data_files(file)


def test_both_halves_of_a_sparse_initialiser_are_found(tmp_path):
    file = save(tmp_path / "model.onnx", graph_of(sparse_initializer=[sparse("a.data")]))
    assert external_data_files(file) == ["a.data", "a.data.indices"]


def test_unsafe_locations_are_told_as_they_are(tmp_path):
    unsafe = ["../../etc/passwd", "/etc/passwd", "C:\\Windows\\x", "a\\..\\..\\b", ""]
    tensors = [external(str(n), name) for n, name in enumerate(unsafe)]
    file = save(tmp_path / "model.onnx", graph_of(initializer=tensors))
    assert external_data_files(file) == unsafe


def test_a_location_counts_even_if_the_tensor_does_not_say_it_is_external(tmp_path):
    tensor = external("w", "a.data")
    tensor.data_location = TensorProto.DEFAULT
    file = save(tmp_path / "model.onnx", graph_of(initializer=[tensor]))
    assert external_data_files(file) == ["a.data"]


def test_an_external_tensor_without_a_location_is_refused(tmp_path):
    file = save(tmp_path / "model.onnx", graph_of(initializer=[external("lost", None)]))
    with pytest.raises(ModelBroken, match=r"model\.onnx .*'lost'.* not in which"):
        external_data_files(file)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 64, b"<html>not found</html>", b"GGUF\x03\x00\x00\x00", b"\x08\x08"],
    ids=["empty", "zeros", "a web page", "a GGUF file", "a lone version"],
)
def test_a_file_that_is_not_onnx_is_refused_by_name(tmp_path, content):
    file = tmp_path / "weights.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelBroken, match=r"weights\.onnx .*is not an ONNX model"):
        external_data_files(file)


def test_half_an_onnx_file_is_refused(tmp_path):
    write(tmp_path / "model.onnx", external_data=False)
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelBroken, match="is not an ONNX model"):
        external_data_files(tmp_path / "model.onnx")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ModelBroken, match=r"model\.onnx .*cannot be read \(No such file"):
        external_data_files(tmp_path / "model.onnx")
