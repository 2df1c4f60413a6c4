"""`jorbit export`: the written function, read with jax alone, gives what `jorbit.predict` gives."""

import json

import jax
import numpy as np

import jorbit
from jorbit.core.protocols import Capacity
from jorbit.graphs.batching import build_graph
from jorbit.potential.export import graph_arrays


def test_export_writes_a_function_and_its_description(model, data, run, tmp_path):
    output = tmp_path / "ethanol.stablehlo"
    answer = run("export", model, data, "-o", output, "--platform", "cpu", "--dtype", "float32", "--index", 2)
    assert answer.exit_code == 0, answer.output
    assert "float32" in answer.output and "12 atoms" in answer.output
    about = json.loads((tmp_path / "ethanol.stablehlo.json").read_text())
    slots = about["inputs"]["index_0"]["shape"][1]
    potential, params = jorbit.load(model)
    frame = jorbit.read(data)[4]
    graph = build_graph(
        frame.structure, potential.species, potential.cutoffs, capacity=Capacity(12, 1, (slots,)), dtype=np.float32
    )
    result = jax.export.deserialize(bytearray(output.read_bytes())).call(**graph_arrays(graph))
    wanted = jorbit.predict(potential, params, frame)
    np.testing.assert_allclose(result["forces"][:9], np.asarray(wanted.forces)[:9], atol=1e-4)
    np.testing.assert_allclose(result["energy"], wanted.energy[0], rtol=1e-6)


def test_export_explains_mistakes(model, data, run, tmp_path):
    for arguments, words in (
        (("--dtype", "float16"), "float32 or float64"),
        (("--platform", "abacus"), "abacus"),
        (("-o", tmp_path / "no" / "where"), "no"),
        (("--index", 99), "99"),
    ):
        answer = run("export", model, data, *arguments)
        assert answer.exit_code == 1 and words in answer.output, answer.output
    assert run("export", model, "bn_gfn1").exit_code == 1
