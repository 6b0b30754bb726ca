"""What doctor tells of shapes that are compiled, on the HTP simulator."""

import json
import re

from shell import run


def test_doctor_tells_what_became_of_the_nodes_of_each_shape_that_was_compiled(
    tmp_path, tiny_embedder, simulator
):
    flags = ["--data-dir", str(tmp_path), "--embedder", str(tiny_embedder)]
    flags += ["--htp-simulator", simulator]
    assert run("embed", "w5 w6", "--policy", "npu", *flags).returncode == 0
    findings = json.loads(run("doctor", "--json", *flags).stdout)["findings"]
    facts = {finding["name"]: finding for finding in findings}
    compiled = facts["compiled for the NPU"]
    assert compiled["state"] == "ok"
    shapes = re.findall(
        r"1x\d+ on htp-simulator in (\d+) nodes as (\d+) operators, 0 unsupported",
        compiled["fact"],
    )
    assert len(shapes) == compiled["fact"].count("1x")
    assert all(int(nodes) > 20 and int(operators) > 20 for nodes, operators in shapes)
