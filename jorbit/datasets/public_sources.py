"""The table of public data sets: files, sha256, units, licence, what to cite. No code runs here."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class PublicFile:
    """One file. `names` are the names it may have in the folder; `sha256` is that of its uncompressed contents.

    `split` names the frames of this file; "isolated_atoms" marks the energies of free atoms.
    """

    names: tuple[str, ...]
    sha256: str
    url: str | None = None
    split: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A set. `choices`: ways to have it complete, best first. `parts`: split -> (split it lies in, start, stop)."""

    name: str
    folder: str
    choices: tuple[tuple[PublicFile, ...], ...]
    energy_unit: str
    length_unit: str = "angstrom"
    description: str
    note: str = ""
    citation: str
    licence: str
    origin: str
    parts: Mapping[str, tuple[str, int, int]] = dataclasses.field(default_factory=dict)


_RAW = "https://raw.githubusercontent.com"
_RMD17 = f"{_RAW}/andersx/rmd17-npz/4f6bb0a186822c90d47cd98b7a27991fe0b3173b/rmd17-npz"
_BOTNET = f"{_RAW}/davkovacs/BOTNet-datasets/29e6d467317e4b5967b7ea5cbee54de953fa0d45"

# molecule -> sha256 of the file that holds both halves of split 01, of the training half, of the test half
_RMD17_SHA256 = {
    "aspirin": (
        "1f71728842ec1d32dbcf99625537c65cf0bb2c5e50767885e4fe17324b1d26b3",
        "d460f0e43a1a9411b55cdcd9cdbeb9466ae62851ac91392516ab88e4ebc68143",
        "a3c3b61e782d01e6dd649a126004903f7873e8e7ee5034135abfdb8873be711d",
    ),
    "benzene": (
        "d97b3aac3182b3dd2c833f6f39a58f2977ee2e12556c2a53d13e0e1b66e7f14a",
        "6e69deb5dc8663c2d2461cc50e522c74742acea7b4185da348fc08585a15cdc7",
        "4aad4aa2f5ae6aa78d2d9f5da7cb285c97864cfbdf054b67de12a1429b249534",
    ),
    "ethanol": (
        "16a41d1768476746d5502966821d9b6007d4f8325a1553cda938d2441b8ba23b",
        "096946747b8d9dcfa042b44f8debbd3da387dfe1586b659e3be789cc4927316a",
        "c3594a0f93d5992e02f9eb671392fb2e5021b3fa4f902417886966d1e4f64e1e",
    ),
    "malonaldehyde": (
        "dd67d01e04d2f8f7550f85e6e7ad35793cdd5427c70e80c07e9c37b820241d4e",
        "95723385cdfd7f8446a84cdff607f14901e4c2b3949db7a965147dc5098d8ee1",
        "147404574d4fe3204dea7eb3799426d264e36b7900012f27fd2d26a26832fdaf",
    ),
    "naphthalene": (
        "63879f4d5e834c81fca3d60ed2853b09a1fc681d098f3311fd881d21fccfd244",
        "940f41110785fb0d3fa5feac68800cf4c68bd05fd55d563d3adacf5247d7688a",
        "80a19bca6aaa5cdf241007d6a7332e7b96a8e6ef362c1badcdb86a574ac3fe06",
    ),
    "uracil": (
        "7e5559fd71948866bfc9b37ddc05fc8805ed6d6d15517fca26db68c1203960c7",
        "e1d450430362e3bebdeea96b24501f5e56a5a8af1eb02d50cb763f48b51523cf",
        "ceda757f7670d97080ec3c28dfb559aeb8ca54f49e7f0da0682fa1eb5ac00907",
    ),
}

# element -> sha256 of the training and of the test file
_MLEARN_SHA256 = {
    "Cu": (
        "69d001a23b996362d26346c7733286dff149a7329985106487afeb775ede2e48",
        "bb6836730bb86b757d0b44f0e6655b4f68d60dac71440b01b9025a1590a4ad0b",
    ),
    "Ge": (
        "770ff57a3fb60cb86b659b2ca138c0a2470ce82c237a65cfe895a0ebf06b7337",
        "9c3eb02604d1c70cb429395dfb7e4a7b4a5c57555e90189c4ecbf47d3424f1ac",
    ),
    "Li": (
        "83914d8f4250e20fcf36d3d5980cfe45bcc9526d619318969730b93b94ca337d",
        "41163d11596b71b848d7f525b7b11e83e8dd13243d54bb7e7063c79bc2fdc21b",
    ),
    "Mo": (
        "6eebd1a1f171f1783dadafc01304183a33e54db55316d4682c19e60e73aa91b0",
        "a021c0d43f4adcf7eb868d61156638e6726b805caf5cf2954b27d170749d8b6e",
    ),
    "Ni": (
        "2b84ea65fd0e3cbac73d24b58213eb1769242037f4664592ff097bb795e0f667",
        "f1ca4f268c813f37d39d04d0b847e0cd14b247d1bb1c434757259c3433dfab03",
    ),
    "Si": (
        "222e59a8df28fa4851faf9f3f30c833dfcb1e98d2b10e9567a452cb04cd7c4be",
        "01b51c8816e92724ead654a89e73ab27c52f92b208c97831b28a9d518dd381e8",
    ),
}


def _rmd17(molecule: str) -> PublicSet:
    both, train, test = _RMD17_SHA256[molecule]
    stem = f"rmd17_{molecule}"
    return PublicSet(
        name=stem,
        folder="rmd17",
        choices=(
            (PublicFile((f"{stem}.npz",), both),),
            (
                PublicFile((f"{stem}_train_01.npz",), train, f"{_RMD17}/{stem}_train_01.npz", "train_01"),
                PublicFile((f"{stem}_test_01.npz",), test, f"{_RMD17}/{stem}_test_01.npz", "test_01"),
            ),
        ),
        energy_unit="kcal/mol",
        description=f"Revised MD17, {molecule}, PBE/def2-SVP, official split 01 (1000 + 1000 frames).",
        note="Do not train on more than 1000 frames.",
        citation="Christensen, von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020), arXiv:2007.09593",
        licence="CC0-1.0",
        origin="github.com/andersx/rmd17-npz at 4f6bb0a1",
    )


def _xyz(folder: str, stem: str, sha256: str, split: str) -> PublicFile:
    names = (f"{stem}.xyz", f"{stem}.extxyz", f"{stem}.extxyz.xz")
    return PublicFile(names, sha256, f"{_BOTNET}/{folder}/{stem}.xyz", split)


def _mlearn(element: str) -> PublicSet:
    train, test = _MLEARN_SHA256[element]
    return PublicSet(
        name=f"mlearn_{element.lower()}",
        folder="mlearn",
        choices=(
            (
                PublicFile((f"{element}_train.extxyz.xz", f"{element}_train.extxyz"), train, split="train"),
                PublicFile((f"{element}_test.extxyz.xz", f"{element}_test.extxyz"), test, split="test"),
            ),
        ),
        energy_unit="eV",
        description=f"mlearn, {element}, PBE: dynamics, elastic, vacancy and surface configurations.",
        note="Stress converted from VASP's kbar to eV/Å^3, positive under tension; surface frames have none.",
        citation="Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723",
        licence="BSD-3-Clause",
        origin="github.com/materialsvirtuallab/mlearn, converted from its JSON files to extxyz",
    )


_3BPA = PublicSet(
    name="3bpa",
    folder="3bpa",
    choices=(
        (
            _xyz(
                "dataset_3BPA",
                "train_300K",
                "d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a",
                "train_300K",
            ),
            _xyz(
                "dataset_3BPA",
                "train_mixedT",
                "bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b",
                "train_mixedT",
            ),
            _xyz(
                "dataset_3BPA",
                "iso_atoms",
                "e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f",
                "isolated_atoms",
            ),
        ),
    ),
    energy_unit="eV",
    description="3-(benzyloxy)pyridin-2-amine, 27 atoms, ωB97X/6-31G(d).",
    note="mixed_600K and mixed_1200K are the parts of train_mixedT at those temperatures, not the published test sets. "
    "31 frames of the 300 K part of train_mixedT are also in train_300K.",
    citation="Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021), doi:10.1021/acs.jctc.1c00647",
    licence="MIT",
    origin="github.com/davkovacs/BOTNet-datasets at 29e6d467",
    parts={"mixed_600K": ("train_mixedT", 167, 334), "mixed_1200K": ("train_mixedT", 334, 500)},
)

_ACAC_SHA256 = {
    "train_300K": "8f5706d6902360555a5be59395612d2afc3489a75688388a58e7275fdad68af3",
    "train_600K": "180c2538508f7810a623c279426f44953ee7cfb2af77e48ea3986ff97645a71c",
    "test_MD_300K": "2291f3186a3cc6a5e05e92952c84a9237ca53f862d78fd3316a769360719ec43",
    "test_MD_600K": "d5a5bba154ec43f915eb7529f86ec3af60e6f911743859daba030181a0378ff7",
    "test_dihedral": "0c2246a593579de5a4450698d5f4ba5802b095824b7f211aa5889339967c6809",
    "test_H_transfer": "ea4d76c79cf4cfccd2f93eaf755172b0b648886c4907eb0f82dff07a77530743",
    "isolated_atoms": "b74f321b453374621b447d65c60979f70df1b7182c8ee0215388b2c574f33823",
}

_ACAC = PublicSet(
    name="acac",
    folder="acac",
    choices=(tuple(_xyz("dataset_acac", stem, sha256, stem) for stem, sha256 in _ACAC_SHA256.items()),),
    energy_unit="eV",
    description="Acetylacetone, 15 atoms, PBE-D3/def2-SVP.",
    note="test_dihedral and test_H_transfer carry energies only.",
    citation="Batatia et al., arXiv:2205.06643",
    licence="MIT",
    origin="github.com/davkovacs/BOTNet-datasets at 29e6d467",
)

SOURCES: dict[str, PublicSet] = {
    **{f"rmd17_{molecule}": _rmd17(molecule) for molecule in _RMD17_SHA256},
    "3bpa": _3BPA,
    "acac": _ACAC,
    **{f"mlearn_{element.lower()}": _mlearn(element) for element in _MLEARN_SHA256},
}
