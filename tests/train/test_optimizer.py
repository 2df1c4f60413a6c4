"""Schedules against their closed forms, optimisers against the papers' recursions, losses against hand computation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_pair import TABLE, TOY, labelled, random_structures, true_params

from jorbit import Frame, SpeciesTable
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.outputs import Prediction
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.loader import frame_store
from jorbit.train.objective import LossWeights, check_charge_labels, species_factors, structure_factors
from jorbit.train.optimizer import Optimizer, Schedule, decayed


def test_warmup_and_cosine():
    rate = Schedule("cosine", peak=0.02, warmup=7, total=57, final=0.05)
    for step in range(7):
        assert rate(step) == pytest.approx(0.02 * (step + 1) / 7)
    wanted = optax.cosine_decay_schedule(0.02, decay_steps=50, alpha=0.05)
    for step in range(7, 60):
        assert rate(step) == pytest.approx(float(wanted(step - 7)), rel=1e-5)


def test_other_schedules_only_warm_up():
    for kind in ("constant", "plateau", "schedule_free"):
        rate = Schedule(kind, peak=0.1, warmup=4, total=10)
        assert [rate(k) for k in (0, 1, 3, 4, 9)] == pytest.approx([0.025, 0.05, 0.1, 0.1, 0.1])


def gradients(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(n, 3)))


def test_adam_with_decay_and_average_follows_the_papers(x64):
    optimizer = Optimizer(weight_decay=0.3, clip=None, ema=0.8)
    params = {"kernel": jnp.array([1.0, -2.0, 0.5]), "bias": jnp.array([0.3, 0.1, 0.2])}
    state, average = optimizer.init(params), params
    p, m, v, mean = np.array([1.0, -2.0, 0.5]), 0.0, 0.0, np.array([1.0, -2.0, 0.5])
    for t, g in enumerate(gradients(6)):
        rate = 0.1 / (1 + t)
        gradient = {"kernel": jnp.asarray(g), "bias": jnp.zeros(3)}
        params, state = optimizer.update(gradient, state, params, jnp.asarray(rate))
        average = optimizer.averaged(average, params, jnp.asarray(t))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        p = p - rate * (step + 0.3 * p)
        d = np.float64(np.float32(min(np.float32(0.8), np.float32((1 + t) / (10 + t)))))
        mean = d * mean + (1 - d) * p
    np.testing.assert_allclose(params["kernel"], p, rtol=1e-12)
    np.testing.assert_allclose(average["kernel"], mean, rtol=1e-6)
    assert params["bias"].tolist() == [0.3, 0.1, 0.2]  # no gradient, and nothing decays


def test_schedule_free_follows_the_paper(x64):
    """Defazio et al., Algorithm 1, without weight decay: y is trained, x is kept."""
    optimizer = Optimizer(clip=None, schedule_free=True)
    params = {"a": jnp.array([1.0, -2.0, 0.5])}
    state = optimizer.init(params)
    x = z = np.array([1.0, -2.0, 0.5])
    v, weights = 0.0, 0.0
    for t, g in enumerate(gradients(8)):
        rate = 0.1 * min(1.0, (t + 1) / 4)
        params, state = optimizer.update({"a": jnp.asarray(g)}, state, params, jnp.asarray(rate))
        v = 0.999 * v + 0.001 * g * g
        z = z - rate * g / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        weights += rate**2
        c = rate**2 / weights
        x = (1 - c) * x + c * z
    np.testing.assert_allclose(params["a"], 0.1 * z + 0.9 * x, rtol=1e-10)
    np.testing.assert_allclose(optimizer.final(params, state, None)["a"], x, rtol=1e-10)


def test_long_gradients_are_shortened_together(x64):
    optimizer = Optimizer(clip=2.0, ema=None, b1=0.5)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    _, state = optimizer.update(
        {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}, optimizer.init(params), params, jnp.asarray(0.1)
    )
    mu = optax.tree.get(state, "mu")
    np.testing.assert_allclose(np.concatenate([mu["a"], mu["b"]]), 0.5 * 2.0 / 5.0 * np.array([3.0, 0.0, 4.0]))


def test_only_kernels_decay():
    tree = {"hidden_0_kernel": jnp.ones((2, 3)), "hidden_0_bias": jnp.ones((2, 3)), "shift": jnp.ones(3)}
    assert decayed(tree) == {"hidden_0_kernel": True, "hidden_0_bias": False, "shift": False}
    # two heads, one behind the other: a vector of each is no matrix, and a matrix stays one
    heads = {"scale": jnp.ones((2, 3)), "mixing": jnp.ones((2, 3, 3))}
    assert decayed(heads, stacked=("scale", "mixing")) == {"scale": False, "mixing": True}


@pytest.fixture(scope="module")
def batch():
    frames = labelled(random_structures(3, periodic=True, seed=9), TOY, true_params())
    frames[1] = dataclasses.replace(frames[1], labels=dataclasses.replace(frames[1].labels, energy_weight=3.0))
    frames[2] = dataclasses.replace(frames[2], info={"config_type": "hot"})
    return frames


def loaded(frames: list[Frame], **options):
    with jax.enable_x64(True):
        store = frame_store(frames, TABLE, TOY.cutoffs, batch_size=len(frames), dtype=np.float64, **options)
        [one] = store.order(None)
        return store.load(one)


def errors(frames, graph, labels):
    """A prediction that is off by known amounts: 0.1 eV, 0.2 eV/Å, 0.03 eV/Å^3 times 1, 2, 3."""
    owner = np.asarray(graph.owner)
    with jax.enable_x64(True):
        k = jnp.arange(1.0, len(frames) + 1)
        return Prediction(
            energy=labels.energy + 0.1 * k,
            energies=jnp.zeros(graph.n_atoms),
            forces=labels.forces + 0.2 * k[owner][:, None],
            stress=labels.stress + 0.03 * k[:, None, None],
        )


def test_the_loss_is_what_one_computes_by_hand(batch, x64):
    frames, factors = batch, structure_factors(batch, {"hot": 0.5})
    graph, labels = loaded(frames, species_weights=[1.0, 4.0], structure_weights=factors)
    prediction = errors(frames, graph, labels)
    k = np.array([1.0, 2.0, 3.0])
    n = np.array([f.structure.n_atoms for f in frames])
    energy = np.average((0.1 * k / n) ** 2, weights=[1.0, 3.0, 0.5])
    atoms = [(number, i) for i, f in enumerate(frames) for number in f.structure.numbers]
    weights = [(4.0 if number == 8 else 1.0) * (0.5 if i == 2 else 1.0) for number, i in atoms]
    forces = np.average([(0.2 * k[i]) ** 2 for _, i in atoms], weights=weights)
    stress = np.average((0.03 * k) ** 2, weights=[1.0, 1.0, 0.5])
    loss = LossWeights(energy=7.0, forces=2.0, stress=5.0).objective()(prediction, labels, graph)
    assert float(loss) == pytest.approx(7.0 * energy + 2.0 * forces + 5.0 * stress, rel=1e-12)
    # Huber: delta (2 |e| - delta) beyond delta, e^2 within; frame 0 is within, 1 and 2 beyond
    huber = [e**2 if e <= 0.3 else 0.3 * (2 * e - 0.3) for e in 0.2 * k]
    wanted = np.average([huber[i] for _, i in atoms], weights=weights)
    loss = LossWeights(energy=0.0, forces=2.0, stress=0.0, huber_forces=0.3).objective()(prediction, labels, graph)
    assert float(loss) == pytest.approx(2.0 * wanted, rel=1e-12)


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_charges_are_weighed_by_the_kind_of_their_structure_like_all_labels(batch, factor, x64):
    charged = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, charges=np.full(f.structure.n_atoms, float(k))))
        for k, f in enumerate(batch)
    ]
    graph, labels = loaded(charged, structure_weights=structure_factors(charged, {"hot": factor}))
    assert set(labels.charges_weight[labels.charges == 2.0].tolist()) == {factor}
    n = np.array([f.structure.n_atoms for f in charged])
    none = dataclasses.replace(errors(charged, graph, labels), charges=jnp.zeros(graph.n_atoms))
    loss = LossWeights(energy=0.0, forces=0.0, stress=0.0, charges=3.0).objective()(none, labels, graph)
    wanted = np.average([0.0, 1.0, 4.0], weights=n * [1.0, 1.0, factor])
    assert float(loss) == pytest.approx(3.0 * wanted, rel=1e-12)


def test_charges_that_do_not_count_may_add_up_to_anything(batch):
    odd = dataclasses.replace(batch[2].labels, charges=np.ones(batch[2].structure.n_atoms))
    good = dataclasses.replace(batch[0].labels, charges=np.zeros(batch[0].structure.n_atoms))
    frames = [
        dataclasses.replace(batch[0], labels=good),
        batch[1],
        dataclasses.replace(batch[2], labels=odd),
    ]
    with pytest.raises(DataError, match="charges of frame 2 add up"):
        check_charge_labels(frames)
    check_charge_labels(frames, structure_factors(frames, {"hot": 0.0}))


def test_weights_name_what_there_is(batch):
    with pytest.raises(ConfigError, match="config_types are"):
        structure_factors(batch, {"cold": 2.0})
    assert structure_factors(batch, {"cold": 2.0}, all_there=False).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ConfigError, match="structure_weights must be finite"):
        GradientConfig(structure_weights={"hot": -1.0})
    orbits = SpeciesTable(((35, 0), (35, 1)))
    assert species_factors(orbits, {"Br1": 3.0}) == [1.0, 3.0]
    with pytest.raises(ConfigError, match="Br0, Br1"):
        species_factors(orbits, {"Br2": 3.0})
