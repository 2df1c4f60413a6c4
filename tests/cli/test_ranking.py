"""`jorbit rank`: verdicts for people and as JSON."""

import json

import pytest


def test_json_has_the_promised_keys_and_the_published_ranks(run):
    result = run("rank", "--basis", "hop14", "--strata", "--json", "--exact")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    strata = found.pop("strata")
    assert found == {
        "basis": "hop14",
        "size": 14,
        "rank": 13,
        "dof": 13,
        "complete": True,
        "independent": False,
        "flexible": False,
    }
    assert {"nonzero": ["T"], "rank": 3, "dof": 5} in strata and {"nonzero": ["v", "T"], "rank": 6, "dof": 8} in strata
    assert len(strata) == 7


def test_floating_point_and_exact_arithmetic_agree(run):
    found = [json.loads(run("rank", "--basis", "hop13:3,2", "--json", *more).stdout) for more in ((), ("--exact",))]
    assert found[0] == found[1] and found[0]["rank"] == 5 and not found[0]["complete"]


def test_table_for_people(run):
    result = run("rank", "--basis", "flex15", "--strata", "--exact")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["flexible", "yes"] in rows and ["independent", "no"] in rows
    assert ["s", "T", "5", "5", "5", "yes", "yes"] in rows


def test_descriptors_are_ranked_by_positions(run):
    options = ("-o", "n_radial=3", "-o", "invariants=hop13:1,0", "--neighbors", "4")
    result = run("rank", "--basis", "cartesian", *options, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["size"], found["rank"], found["dof"]) == (3, 3, 9)
    assert found["flexible"] is None and found["strata"] == []


def test_descriptors_have_symmetric_environments_as_strata(run):
    """Tetrahedra leave s and T: three of five numbers for hop13, as for the moments themselves."""
    options = ("-o", "n_radial=1", "-o", "invariants=hop13", "--points", "1", "--strata")
    found = json.loads(run("rank", "--basis", "cartesian", *options, "--json").stdout)
    assert {"nonzero": ["T", "D"], "rank": 3, "dof": 5} in found["strata"] and found["flexible"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--basis", "hop99"), "hop13, hop13:n_max,l_max, hop14"),
        (("--basis", "ace", "--exact"), "leave --exact out"),
        (("--basis", "ace", "-o", "colour=red"), "max_degree"),
        (("--basis", "hop13", "-o", "cutoff=3"), "belong to descriptors"),
        (("--basis", "hop13", "--points", "0"), "--points 0"),
        (("--basis", "ace", "--neighbors", "0"), "at least one neighbour"),
    ],
)
def test_mistakes_are_explained(run, words, message):
    result = run("rank", *words)
    assert result.exit_code == 1 and message in " ".join(result.output.split())
