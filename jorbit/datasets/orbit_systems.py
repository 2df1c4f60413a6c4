"""Systems to find orbits in; made by benchmarks/data/make_orbit_systems.py, described in data/README.md.

The paper on orbits (Charkin-Gorbulin et al., Mach. Learn.: Sci. Technol. 2025, doi:10.1088/2632-2153/adea0b) names
these systems. The data are our own, from GFN-xTB and far fewer: they say nothing about the numbers in that paper.
"""

from jorbit.datasets.dataset import FrameDataset
from jorbit.datasets.shipped import load_shipped


def naphthyridine_gfn2() -> FrameDataset:
    """1,8-naphthyridine, 16 atoms, GFN2-xTB, 500 K: 600 frames of six trajectories, 400 to train.

    Example:
        >>> naphthyridine_gfn2()[0].structure.n_atoms
        16
    """
    return load_shipped("naphthyridine_gfn2", "1,8-naphthyridine, 16 atoms, GFN2-xTB, Langevin dynamics at 500 K", 400)


def dalanine_gfn2() -> FrameDataset:
    """D-alanine (neutral), 13 atoms, GFN2-xTB, 500 K: 600 frames of six trajectories, 400 to train.

    Example:
        >>> dalanine_gfn2()[0].structure.n_atoms
        13
    """
    return load_shipped("dalanine_gfn2", "D-alanine, neutral, 13 atoms, GFN2-xTB, Langevin dynamics at 500 K", 400)


def dhistidine_gfn2() -> FrameDataset:
    """D-histidine (neutral), 20 atoms, GFN2-xTB, 500 K: 600 frames of six trajectories, 400 to train.

    Example:
        >>> dhistidine_gfn2()[0].structure.n_atoms
        20
    """
    return load_shipped("dhistidine_gfn2", "D-histidine, neutral, 20 atoms, GFN2-xTB, Langevin dynamics at 500 K", 400)


def graphene_n3_gfn1() -> FrameDataset:
    """Graphene with a vacancy and three pyridinic nitrogens, 31 atoms, GFN1-xTB, 500 K: 180 frames, 120 to train.

    4 x 4 cells at the Gamma point: energies of this sheet, not of graphene.

    Example:
        >>> graphene_n3_gfn1()[0].structure.n_atoms
        31
    """
    return load_shipped(
        "graphene_n3_gfn1",
        "Graphene with a vacancy and three pyridinic nitrogens (N3V1), 4 x 4 cells, 31 atoms, GFN1-xTB at the Gamma "
        "point, Langevin dynamics at 500 K",
        120,
    )


def cspbi3_slab_gfn1() -> FrameDataset:
    """CsPbI3 (001) slab, five layers, CsI-terminated, 24 atoms, GFN1-xTB, 450 K: 120 frames, 80 to train.

    sqrt(2) x sqrt(2) cells at the Gamma point, lattice constant 6.1 Å: energies of this cell, not of the solid.

    Example:
        >>> cspbi3_slab_gfn1()[0].structure.n_atoms
        24
    """
    return load_shipped(
        "cspbi3_slab_gfn1",
        "CsPbI3 (001) slab, five layers, CsI-terminated, sqrt(2) x sqrt(2) cells, 24 atoms, GFN1-xTB at the Gamma "
        "point, Langevin dynamics at 450 K",
        80,
    )


def ethanol_on_graphene_gfn1() -> FrameDataset:
    """Ethanol on graphene, 41 atoms, GFN1-xTB, 500 K: 120 frames of six trajectories, 80 to train.

    4 x 4 cells at the Gamma point: energies of this sheet, not of graphene.

    Example:
        >>> ethanol_on_graphene_gfn1()[0].structure.n_atoms
        41
    """
    return load_shipped(
        "ethanol_on_graphene_gfn1",
        "ethanol on graphene, 4 x 4 cells, 41 atoms, GFN1-xTB at the Gamma point, Langevin dynamics at 500 K",
        80,
    )


def naphthyridine_on_graphene_gfn1() -> FrameDataset:
    """1,8-naphthyridine on graphene, 56 atoms, GFN1-xTB, 500 K: 80 frames of four trajectories, 50 to train.

    4 x 5 cells at the Gamma point: energies of this sheet, not of graphene.

    Example:
        >>> naphthyridine_on_graphene_gfn1()[0].structure.n_atoms
        56
    """
    return load_shipped(
        "naphthyridine_on_graphene_gfn1",
        "1,8-naphthyridine on graphene, 4 x 5 cells, 56 atoms, GFN1-xTB at the Gamma point, Langevin dynamics at 500 K",
        50,
    )


def dalanine_on_graphene_gfn1() -> FrameDataset:
    """D-alanine on graphene, 45 atoms, GFN1-xTB, 500 K: 120 frames of six trajectories, 80 to train.

    4 x 4 cells at the Gamma point: energies of this sheet, not of graphene.

    Example:
        >>> dalanine_on_graphene_gfn1()[0].structure.n_atoms
        45
    """
    return load_shipped(
        "dalanine_on_graphene_gfn1",
        "D-alanine on graphene, 4 x 4 cells, 45 atoms, GFN1-xTB at the Gamma point, Langevin dynamics at 500 K",
        80,
    )


def dhistidine_on_graphene_gfn1() -> FrameDataset:
    """D-histidine on graphene, 60 atoms, GFN1-xTB, 500 K: 80 frames of four trajectories, 50 to train.

    4 x 5 cells at the Gamma point: energies of this sheet, not of graphene.

    Example:
        >>> dhistidine_on_graphene_gfn1()[0].structure.n_atoms
        60
    """
    return load_shipped(
        "dhistidine_on_graphene_gfn1",
        "D-histidine on graphene, 4 x 5 cells, 60 atoms, GFN1-xTB at the Gamma point, Langevin dynamics at 500 K",
        50,
    )


def acphe_ala5_lys_gfn2() -> FrameDataset:
    """Ac-Phe-Ala5-Lys (neutral), 99 atoms, GFN2-xTB, 500 K: 120 frames of four trajectories, 80 to train.

    Example:
        >>> acphe_ala5_lys_gfn2()[0].structure.n_atoms
        99
    """
    return load_shipped(
        "acphe_ala5_lys_gfn2", "Ac-Phe-Ala5-Lys, neutral, 99 atoms, GFN2-xTB, Langevin dynamics at 500 K", 80
    )
