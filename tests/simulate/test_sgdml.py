"""A kernel model is simulated as any other potential: ASE, jax-md, molecular dynamics at constant energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jorbit


@pytest.fixture(scope="module")
def fitted():
    return jorbit.fit_sgdml(jorbit.read("ethanol_gfn2")[:800:20], sigma=20.0, permutations="none")


@pytest.mark.slow
def test_ase_and_jax_md_see_the_same_model(fitted, tmp_path):
    from jax_md import quantity, space

    from jorbit.graphs.ase_atoms import to_ase

    frame = jorbit.read("ethanol_gfn2")[11]
    wanted = jorbit.predict(fitted.potential, fitted.params, frame.structure)
    jorbit.save(tmp_path / "m.safetensors", fitted.potential, fitted.params, fitted.report.provenance())
    atoms = to_ase(frame.structure)
    atoms.calc = jorbit.Calculator(tmp_path / "m.safetensors")
    assert atoms.get_potential_energy() == pytest.approx(wanted.energy[0], abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), wanted.forces, atol=1e-8)
    with jax.enable_x64(True):
        displacement, _ = space.free()
        neighbor_fn, energy_fn = jorbit.to_jax_md(
            fitted.potential, fitted.params, displacement, structure=frame.structure
        )
        r = jnp.asarray(frame.structure.positions)
        neighbors = neighbor_fn.allocate(r)
        forces = jax.jit(quantity.force(energy_fn))(r, neighbor=neighbors)
        np.testing.assert_allclose(forces, wanted.forces, atol=1e-8)


@pytest.mark.slow
def test_energy_is_conserved(fitted):
    frame = jorbit.read("ethanol_gfn2")[0]
    options = {"temperature": 200.0, "n_steps": 1200, "timestep": 0.2, "record_every": 100, "progress": False}
    result = jorbit.simulate.run(fitted.potential, fitted.params, frame.structure, **options)
    assert np.ptp(result.kinetic_energies) > 0.02  # something happens
    assert np.ptp(result.total_energies) < 0.1 * np.ptp(result.kinetic_energies)
    half = len(result.total_energies) // 2
    assert abs(result.total_energies[half:].mean() - result.total_energies[:half].mean()) < 1e-3
