import numpy as np
import pytest

from jorbit import Frame, Structure
from jorbit.core.errors import DataError
from jorbit.train.split import by_config_type, random_split, stratified_split


def frames(n, kinds=("a",)):
    structure = Structure(positions=np.zeros((1, 3)), numbers=np.array([1]))
    return [Frame(structure=structure, info={"id": k, "config_type": kinds[k % len(kinds)]}) for k in range(n)]


def ids(part):
    return [f.info["id"] for f in part]


def test_parts_are_disjoint_complete_and_the_same_for_one_seed():
    data = frames(50)
    split = random_split(data, valid=0.1, test=10, seed=3)
    assert [len(p) for p in split] == [35, 5, 10]
    assert sorted(ids(split.train) + ids(split.valid) + ids(split.test)) == list(range(50))
    assert ids(random_split(data, valid=0.1, test=10, seed=3).test) == ids(split.test)
    assert ids(random_split(data, valid=0.1, test=10, seed=4).test) != ids(split.test)


def test_a_small_training_set_leaves_frames_unused():
    assert [len(p) for p in random_split(frames(50), train=7)] == [7, 0, 0]


@pytest.mark.parametrize("sizes", [{"train": 51}, {"train": 0.9, "test": 0.2}, {"test": -1}, {"test": 1.5}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(DataError, match="frames"):
        random_split(frames(50), **sizes)


@pytest.mark.parametrize(
    ("n", "sizes", "found"),
    [
        (15, {"train": 0.8, "valid": 0.1, "test": 0.1}, [11, 2, 2]),
        (7, {"train": 0.5, "test": 0.5}, [3, 0, 4]),
        (7, {"valid": 0.5, "test": 0.5}, [0, 3, 4]),
        (5, {"train": 4, "valid": 0.1, "test": 0.1}, [4, 0, 0]),
    ],
)
def test_fractions_of_the_whole_always_fit(n, sizes, found):
    """1.5 frames of 15 are 2; both parts of 7 halves would be 4."""
    assert [len(p) for p in random_split(frames(n), **sizes)] == found


def test_every_kind_is_in_every_part_in_proportion():
    data = frames(90, kinds=("solid", "liquid", "surface"))
    assert {k: len(v) for k, v in by_config_type(data).items()} == {"solid": 30, "liquid": 30, "surface": 30}
    split = stratified_split(data, valid=0.1, test=0.2)
    for part, size in zip(split, (21, 3, 6), strict=True):
        assert {k: len(v) for k, v in by_config_type(part).items()} == {"solid": size, "liquid": size, "surface": size}
