"""Conjugate gradients with a Nyström preconditioner against the closed form and dense inverses."""

import dataclasses
import signal

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, DataError
from jorbit.models.sgdml import SGDML, predict_geometries
from jorbit.orbits.group import enumerate_group
from jorbit.train.kernel_matrix import Geometry, Tiles, kernel_matrix
from jorbit.train.sgdml import fit_sgdml
from jorbit.train.sgdml_iterative import (
    IterativeOptions,
    iterative_bytes,
    nystroem,
    products_with,
    solve_iteratively,
)

FRAMES = jorbit.read("ethanol_gfn2")[:400:20]
METHYL = enumerate_group([np.array([0, 1, 2, 3, 4, 5, 7, 8, 6])], 9, 3)
SIGMA, RIDGE = 10.0, 1e-8
NONE = {"permutations": "none", "sigma": SIGMA, "solver": "iterative", "regularization": RIDGE}


def silent(stage: str, done: int, total: int) -> None:
    return None


@pytest.fixture(scope="module")
def system():
    positions = np.stack([f.structure.positions for f in FRAMES])
    tiles = Tiles(Geometry(SGDML(numbers=tuple(FRAMES[0].structure.numbers.tolist())), positions), METHYL)
    matrix = kernel_matrix(tiles, SIGMA)
    matrix = np.tril(matrix) + np.tril(matrix, -1).T + RIDGE * np.eye(len(matrix))
    y = np.stack([f.labels.forces for f in FRAMES]).ravel()
    return tiles, matrix, y / y.std()


def test_products_equal_those_with_the_matrix(system):
    tiles, matrix, _ = system
    v = np.random.default_rng(0).normal(size=len(matrix))
    got = products_with(tiles, SIGMA, RIDGE)(v)
    np.testing.assert_allclose(got, matrix @ v, atol=1e-11 * np.abs(matrix @ v).max())


def test_the_preconditioner_is_the_inverse_of_what_it_stands_for(system):
    tiles, matrix, _ = system
    n, ridge = len(matrix), 1e-4
    kernel = matrix - RIDGE * np.eye(n)
    chosen = np.sort(np.random.default_rng(1).choice(n, 60, replace=False))
    columns = kernel[:, chosen]
    known = columns @ np.linalg.solve(columns[chosen], columns.T)
    apply = nystroem(tiles, SIGMA, ridge, chosen, silent)
    r = np.random.default_rng(2).normal(size=n)
    wanted = np.linalg.solve(known + ridge * np.eye(n), r)
    np.testing.assert_allclose(apply(r), wanted, atol=1e-6 * np.abs(wanted).max())


def test_more_columns_need_fewer_steps_to_the_solution_of_the_closed_form(system):
    tiles, matrix, y = system
    wanted, steps = np.linalg.solve(matrix, y), []
    for n_inducing in (40, 130, 400):
        options = IterativeOptions(tolerance=1e-8, n_inducing=n_inducing)
        found = solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, options, silent)
        assert found.converged and found.n_inducing == n_inducing
        assert np.linalg.norm(matrix @ found.alphas - y) < 2e-8 * np.linalg.norm(y)
        steps.append(found.n_steps)
    assert steps[0] > steps[1] > steps[2] > 0
    np.testing.assert_allclose(matrix @ found.alphas, matrix @ wanted, atol=1e-7)


def test_it_goes_on_from_a_checkpoint_and_knows_its_own(system, tmp_path):
    tiles, _, y = system
    path = tmp_path / "solution.npz"
    options = IterativeOptions(tolerance=1e-6, n_inducing=130, checkpoint=path)
    whole = solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, options, silent)
    part = solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, dataclasses.replace(options, max_steps=150), silent)
    assert not part.converged and part.n_steps == 150
    rest = solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, dataclasses.replace(options, resume=True), silent)
    assert rest.converged and 0 < rest.n_steps < whole.n_steps
    again = solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, dataclasses.replace(options, resume=True), silent)
    assert again.n_steps == 0 and again.converged
    with pytest.raises(DataError, match="belongs to a fit of other frames"):
        solve_iteratively(tiles, 2 * y, SIGMA, RIDGE, 1e9, dataclasses.replace(options, resume=True), silent)
    with pytest.raises(ConfigError, match="needs the checkpoint"):
        solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, IterativeOptions(resume=True), silent)


def test_a_full_disk_costs_the_checkpoint_and_not_the_solution(system, tmp_path):
    tiles, _, y = system
    path = tmp_path / "solution.npz"
    path.mkdir()  # nothing can be put in its place
    options = IterativeOptions(tolerance=1e-4, n_inducing=130, checkpoint=path)
    found = solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, options, silent)
    assert found.converged and "could not be saved" in found.notes[0]
    path.rmdir()
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="damaged"):
        solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, dataclasses.replace(options, resume=True), silent)


def test_a_search_for_sigma_goes_on_where_it_was(tmp_path):
    options = IterativeOptions(tolerance=1e-4, n_inducing=130, checkpoint=tmp_path / "a.npz", resume=True)
    wanted = NONE | {"sigma": [8.0, 12.0]}

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "sigma" and done == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit_sgdml(FRAMES, iterative=options, progress=stop, **wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sigma12.npz", "a.sigma8.npz"]
    stages: list[str] = []
    again = fit_sgdml(FRAMES, iterative=options, progress=lambda stage, *_: stages.append(stage), **wanted)
    whole = fit_sgdml(FRAMES, iterative=dataclasses.replace(options, checkpoint=None, resume=False), **wanted)
    searched = stages[: [k for k, s in enumerate(stages) if s == "sigma"][-1]]
    assert sum(s.startswith("cg:") for s in searched) == 2  # one look at each solution, and no step
    assert again.report.sigma == whole.report.sigma
    np.testing.assert_allclose(again.report.alphas, whole.report.alphas, rtol=1e-9)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("held_out", [True, False])
def test_ctrl_c_ends_the_whole_search_for_sigma_and_keeps_its_checkpoints(tmp_path, held_out):
    """The best so far is the model; the same fit goes on with resume to what it would have been."""
    options = IterativeOptions(tolerance=1e-4, n_inducing=130, checkpoint=tmp_path / "a.npz")
    wanted = NONE | {"sigma": [8.0, 12.0, 16.0], "validation": None if held_out else FRAMES[16:]}
    frames = FRAMES if held_out else FRAMES[:16]
    solved: list[float] = []

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "sigma":
            solved.append(done)
        if stage.startswith("cg:") and len(solved) == 1:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    found = fit_sgdml(frames, iterative=options, progress=interrupt, **wanted)
    assert solved == [1, 2] and sorted(found.report.sigma_search) == [8.0, 12.0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sigma12.npz", "a.sigma8.npz"]
    assert found.report.interrupted and found.report.sigma == 8.0 and found.report.training is None
    [ended] = [note for note in found.report.notes if "Ctrl-C ended the search for σ" in note]
    assert "a.sigma12.npz" in ended and "resume" in ended
    assert any("2 frames held out" in note for note in found.report.notes) == held_out
    assert found.report.n_frames == (18 if held_out else 16) and len(found.report.alphas) == 27 * found.report.n_frames
    assert signal.getsignal(signal.SIGINT) is before
    alone = fit_sgdml(frames, iterative=dataclasses.replace(options, checkpoint=None), **wanted).report
    again = fit_sgdml(frames, iterative=dataclasses.replace(options, resume=True), **wanted).report
    assert not again.interrupted and again.sigma == alone.sigma and set(again.sigma_search) == {8.0, 12.0, 16.0}
    for sigma, error in alone.sigma_search.items():
        assert again.sigma_search[sigma] == pytest.approx(error, rel=1e-3)


def test_progress_tells_residual_and_time_left(system):
    tiles, _, y = system
    told: list[tuple[str, int, int]] = []
    options = IterativeOptions(tolerance=1e-5, n_inducing=130)
    solve_iteratively(tiles, y, SIGMA, RIDGE, 1e9, options, lambda *a: told.append(a))
    stages = [stage for stage, _, _ in told if stage.startswith("cg:")]
    assert "residual 1.0e+00" in stages[0] and stages[-1].endswith("0 s left")
    done = [d for stage, d, _ in told if stage.startswith("cg:")]
    assert done[0] == 0 and done[-1] == 100


def test_a_fit_without_the_matrix_predicts_what_the_closed_form_predicts():
    options = IterativeOptions(tolerance=1e-7)
    iterated = fit_sgdml(FRAMES, iterative=options, **NONE)
    closed = fit_sgdml(FRAMES, **(NONE | {"solver": "cholesky"}))
    assert iterated.report.solver == "iterative" and iterated.report.residual <= 1e-7
    tests = np.stack([f.structure.positions for f in jorbit.read("ethanol_gfn2")[1001:1021]])
    one, two = (predict_geometries(m.potential.terms[0], m.params["sgdml"], tests)[1] for m in (iterated, closed))
    assert np.abs(one - two).max() < 1e-3 * np.abs(two).max()


def test_what_does_not_fit_is_solved_iteratively_or_refused():
    needed = iterative_bytes(540, 100) / 2**30
    auto = fit_sgdml(FRAMES, iterative=IterativeOptions(tolerance=1e-2), memory=needed, **(NONE | {"solver": "auto"}))
    assert auto.report.solver == "iterative"
    with pytest.raises(ConfigError, match="GiB for a preconditioner"):
        fit_sgdml(FRAMES, memory=1e-5, **NONE)
    with pytest.raises(ConfigError, match="take fewer"):
        fit_sgdml(FRAMES, memory=needed, iterative=IterativeOptions(n_inducing=500), **NONE)
    with pytest.raises(ConfigError, match="forces only"):
        fit_sgdml(FRAMES, use_energies=True, **NONE)


def test_a_solution_that_is_not_reached_is_said_to_be_so():
    result = fit_sgdml(FRAMES, iterative=IterativeOptions(tolerance=1e-9, max_steps=3, n_inducing=20), **NONE)
    assert result.report.interrupted and any("stopped at a residual" in note for note in result.report.notes)
