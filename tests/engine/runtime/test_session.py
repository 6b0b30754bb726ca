"""Sessions: an edited graph beside its weights, and runs that end when they are told to."""

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ModelBroken
from engine.runtime.session import Binding, Interrupted, Session, Stop

WEIGHT = np.arange(512, dtype=np.float32)


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])


def write_endless(file: Path) -> Path:
    """A graph that writes x + 1 to `begun` and adds 1 to it until it is no less than `limit`."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "one"], ["next"]),
            helper.make_node("Less", ["next", "limit"], ["less"]),
            helper.make_node("Squeeze", ["less"], ["again"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            _value("v"),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, []), _value("next")],
    )
    nodes = [
        helper.make_node("Add", ["x", "one"], ["begun"]),
        helper.make_node("Loop", ["", "true", "begun"], ["end"], body=body),
    ]
    constants = [
        numpy_helper.from_array(np.ones(1, np.float32), "one"),
        numpy_helper.from_array(np.array(True), "true"),
    ]
    graph = helper.make_graph(
        nodes, "g", [_value("x"), _value("limit")], [_value("begun"), _value("end")], constants
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)
    return file


class Run:
    """One binding of the endless graph with its arrays."""

    def __init__(self, session: Session, limit: float) -> None:
        self.begun, self.end = np.zeros(1, np.float32), np.zeros(1, np.float32)
        self.binding: Binding = session.binding()
        self.binding.bind_input("x", np.zeros(1, np.float32))
        self.binding.bind_input("limit", np.full(1, limit, np.float32))
        self.binding.bind_output("begun", self.begun)
        self.binding.bind_output("end", self.end)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.open(write_endless(tmp_path_factory.mktemp("g") / "g.onnx"), threads=1)


def test_a_run_ends_in_its_middle_when_another_thread_says_so(endless: Session) -> None:
    run, stop = Run(endless, np.inf), Stop()

    def stop_once_begun() -> None:
        while run.begun[0] == 0:
            pass
        stop.set()

    thread = threading.Thread(target=stop_once_begun)
    thread.start()
    with pytest.raises(Interrupted):
        run.binding.run(stop)
    thread.join()
    assert run.begun[0] == 1


def test_an_interrupted_session_runs_again_with_the_same_binding(endless: Session) -> None:
    run, stop = Run(endless, 9), Stop()
    stop.set()
    with pytest.raises(Interrupted):
        run.binding.run(stop)
    run.binding.run(Stop())
    assert run.end[0] == 9
    run.end[0] = 0
    run.binding.run()
    assert run.end[0] == 9


def test_a_stop_that_is_set_ends_a_run_before_it_begins(endless: Session) -> None:
    run, stop = Run(endless, np.inf), Stop()
    assert not stop.is_set
    stop.set()
    assert stop.is_set
    with pytest.raises(Interrupted):
        run.binding.run(stop)
    assert run.begun[0] == 0


def test_one_stop_ends_every_run_that_has_it(endless: Session) -> None:
    stop, runs = Stop(), [Run(endless, np.inf) for _ in range(2)]
    ended: list[str] = []

    def go(run: Run) -> None:
        try:
            run.binding.run(stop)
        except Interrupted as error:
            ended.append(str(error))

    threads = [threading.Thread(target=go, args=[run]) for run in runs]
    for thread in threads:
        thread.start()
    while not all(run.begun[0] for run in runs):
        pass
    stop.set()
    for thread in threads:
        thread.join()
    assert ended == ["the run was stopped"] * 2


def test_a_run_that_fails_by_itself_is_no_interruption(endless: Session) -> None:
    run = Run(endless, 9)
    run.binding.bind_input("x", np.zeros(2, np.float32))
    with pytest.raises(Exception, match="x") as failed:
        run.binding.run(Stop())
    assert not isinstance(failed.value, Interrupted)


def test_an_edited_graph_finds_its_weights_beside_the_file_it_was(tmp_path: Path) -> None:
    file = tmp_path / "own folder" / "model.onnx"
    file.parent.mkdir()
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [512])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, file, save_as_external_data=True, location="w.data", size_threshold=0)
    edited = onnx.load(file, load_external_data=False)
    edited.graph.node[0].op_type = "Sub"
    x = np.full(512, 3, np.float32)
    for session, expected in (
        (Session.open(file), x + WEIGHT),
        (Session.open(file, graph=edited.SerializeToString()), x - WEIGHT),
    ):
        assert np.array_equal(session.run({"x": x}, ["y"])[0], expected)
    (file.parent / "w.data").unlink()
    with pytest.raises(ModelBroken, match=r"model\.onnx in own folder is not a model"):
        Session.open(file, graph=edited.SerializeToString())
