"""Model files: one .safetensors that holds the parameters, with a JSON spec of the potential in its header.

Nothing is ever unpickled and no code in a file is run: the spec names registered components and their options. A
digest over the spec and the tensors shows accidental and careless changes; it is not a signature, so take model files
from people you trust to have made good models.
"""

import hashlib
import json
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from jorbit import __version__
from jorbit.core.errors import JorbitError, ModelFileError
from jorbit.core.protocols import OrbitReference, Params
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.potential.dimers import guards_short_distances
from jorbit.potential.grade_files import decode_grades, encode_grades, is_of_grade
from jorbit.potential.head_files import encode_heads, is_of_head, names_of_heads, split_head, tensors_of_head
from jorbit.potential.orbit_reference import FoundOrbits
from jorbit.potential.potential import Potential
from jorbit.potential.spec import decode_component, encode_term, flatten_params, unflatten_params
from jorbit.potential.state_files import write_whole
from jorbit.potential.uncertainty import Grade

FORMAT = "jorbit-potential"
FORMAT_VERSION = 2  # of files with orbits; files without are of version 1, which older releases read
HEADER_KEY = "jorbit"  # the only entry of the metadata: the order of several is not reproducible
UNITS = {"energy": "eV", "length": "angstrom", "force": "eV/angstrom", "stress": "eV/angstrom^3", "charge": "e"}
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}

Path = str | os.PathLike[str]


def save(
    path: Path,
    potential: Potential,
    params: Params,
    provenance: Mapping[str, Any] | None = None,
    grades: Mapping[str, Grade] | None = None,
    heads: Mapping[str, Params] | None = None,
) -> None:
    """Write a model file. An old file of that name stays whole until the new one is complete.

    Args:
        path: where to; conventionally ends in .safetensors.
        potential: sum of terms.
        params: its parameters: nested dictionaries, lists and tuples of arrays. Their bits and dtypes are kept.
        provenance: what the model was trained on and how; anything JSON can hold.
        grades: uncertainties and extrapolation grades of this potential by name; `load_grades` reads them.
        heads: parameters by name, of which `params` are one: those of a network trained on several sets of labels, see
            `jorbit.train.gradient.train_heads`. What they share is written once.

    Raises:
        ModelFileError: the path cannot be written, or the potential or parameters hold what a file cannot keep.

    Example:
        >>> import tempfile
        >>> from jorbit.terms.reference_energy import ReferenceEnergy
        >>> potential = Potential((ReferenceEnergy(n_species=1),), SpeciesTable.from_numbers([14]))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "si.safetensors"
        >>> save(path, potential, {"reference_energy": {"energies": np.array([-1.5])}})
        >>> load(path)[1]["reference_energy"]["energies"].item()
        -1.5
    """
    _require_match(potential, params, "the parameters to save")
    tree, tensors = flatten_params(params)
    spec = {
        "format": FORMAT,
        "format_version": 1 if potential.orbits is None else FORMAT_VERSION,
        "jorbit_version": __version__,
        "terms": [encode_term(term) for term in potential.terms],
        "species": [list(row) for row in potential.species.rows],
        "units": UNITS,
        "params": tree,
        "provenance": _plain(dict(provenance or {})),
    }
    if potential.orbits is not None:
        spec["orbits"] = _encode_orbits(potential.orbits)
    if grades:
        spec["grades"], arrays = encode_grades(grades, potential, params)
        tensors |= arrays
    if heads:
        spec["heads"], arrays = encode_heads(heads, params)
        tensors |= arrays
    header = json.dumps({"spec": spec, "sha256": _digest(spec, tensors)}, allow_nan=False)
    _write(pathlib.Path(path), safetensors.numpy.save(tensors, metadata={HEADER_KEY: header}))


def load(path: Path, *, head: str | None = None) -> tuple[Potential, Params]:
    """Read a model file.

    Args:
        path: of the file, or "file#head", which is understood wherever a model file is asked for.
        head: which of several heads; None is the one that was saved as the main one.

    Returns:
        The potential, and its parameters as numpy arrays with the bits and dtypes they were saved with.

    Raises:
        ModelFileError: no such file or head, or a truncated, foreign, newer or changed one, or one with unknown
            components.
    """
    file, head = split_head(path, head)
    spec, tensors, _ = _read(file)
    return _decode(path, spec, tensors, head)


def load_heads(path: Path) -> dict[str, Params]:
    """The parameters of every head in a model file by name, the main one first; {} when there are none.

    Raises:
        ModelFileError: as `load`.
    """
    file, _ = split_head(path, None)
    spec, tensors, _ = _read(file)
    return {name: _decode(path, spec, tensors, name)[1] for name in names_of_heads(spec.get("heads"))}


def load_grades(path: Path) -> dict[str, Grade]:
    """The uncertainties and extrapolation grades in a model file, by name; {} when there are none.

    Raises:
        ModelFileError: as `load`.
    """
    file, head = split_head(path, None)
    spec, tensors, _ = _read(file)
    potential, params = _decode(path, spec, tensors)
    if head is not None and [head] != names_of_heads(spec.get("heads"))[:1]:
        return {}  # they are those of the main head
    try:
        return decode_grades(spec.get("grades", {}), tensors, potential, params)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{os.fspath(path)}: the description of its grades is malformed ({error!r}).") from error


def info(path: Path) -> dict[str, Any]:
    """What a model file says about itself, checked as in `load`; of "file#head" the same, if there is such a head.

    Returns:
        A dictionary that JSON can hold: format_version, jorbit_version, components, options, species, orbits,
        guards_short_distances (whether a term keeps atoms apart where there were no data), cutoffs (Å), units,
        provenance, grades (name -> kind), heads, n_parameters (of one head), tensors, sha256, n_bytes.
    """
    file, head = split_head(path, None)
    spec, tensors, digest = _read(file)
    potential, _ = _decode(path, spec, tensors, head)
    return {
        "path": os.fspath(path),
        "format_version": spec["format_version"],
        "jorbit_version": spec["jorbit_version"],
        "components": list(potential.names),
        "terms": [
            {"name": name, "seam": term["seam"], "component": term["component"], "options": _readable(term["options"])}
            for name, term in zip(potential.names, spec["terms"], strict=True)
        ],
        "species": [{"symbol": SYMBOLS[z], "number": z, "orbit": orbit} for z, orbit in potential.species.rows],
        "orbits": None if potential.orbits is None else _describe_orbits(potential.orbits),
        "guards_short_distances": guards_short_distances(potential),
        "cutoffs": list(potential.cutoffs),
        "units": spec["units"],
        "provenance": spec["provenance"],
        "grades": {name: grade["kind"] for name, grade in spec.get("grades", {}).items()},
        "heads": names_of_heads(spec.get("heads")),
        "n_parameters": int(sum(t.size for n, t in tensors.items() if not (is_of_grade(n) or is_of_head(n)))),
        "tensors": {name: {"shape": list(t.shape), "dtype": str(t.dtype)} for name, t in sorted(tensors.items())},
        "sha256": digest,
        "n_bytes": file.stat().st_size,
    }


def _decode(
    path: Path, spec: Mapping[str, Any], tensors: Mapping[str, np.ndarray], head: str | None = None
) -> tuple[Potential, Params]:
    try:
        species = SpeciesTable(tuple((int(z), int(orbit)) for z, orbit in spec["species"]))
        terms = tuple(decode_component(term) for term in spec["terms"])
        potential = Potential(terms=terms, species=species, orbits=_decode_orbits(spec.get("orbits"), species))
        params = unflatten_params(spec["params"], tensors_of_head(spec.get("heads"), tensors, head))
        _require_match(potential, params, "the parameters in the file")
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error
    except (JorbitError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"{os.fspath(path)}: the description of the potential is malformed ({error!r})."
        ) from error
    return potential, params


def _encode_orbits(orbits: OrbitReference) -> dict[str, Any]:
    if not isinstance(orbits, FoundOrbits):
        raise ModelFileError(
            f"The orbits of the potential are a {type(orbits).__name__}, which a model file cannot keep: wanted what "
            "jorbit.find_orbits returns."
        )
    return orbits.to_plain()


def _decode_orbits(data: Mapping[str, Any] | None, species: SpeciesTable) -> FoundOrbits | None:
    if data is None:
        return None
    orbits = FoundOrbits.from_plain(data)
    if orbits.species != species:
        raise ModelFileError(
            f"the orbits of the reference ({', '.join(orbits.species.names)}) are not those of the species table "
            f"({', '.join(species.names)})."
        )
    return orbits


def _describe_orbits(orbits: OrbitReference) -> dict[str, Any]:
    return {
        "n_atoms": sum(orbits.counts.values()),
        "n_orbits": len(orbits.counts),
        "members": [{"number": z, "orbit": k, "n_atoms": n} for (z, k), n in sorted(orbits.counts.items())],
    }


def _require_match(potential: Potential, params: Params, what: str) -> None:
    have = sorted(params) if isinstance(params, Mapping) else type(params).__name__
    if have != sorted(potential.names):
        raise ModelFileError(f"Wanted {what} to hold {sorted(potential.names)}, one entry per term, got {have}.")


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    """Spec, tensors and digest of a file whose bytes are as they were written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    metadata = _metadata(path, content)
    try:
        header = json.loads(metadata[HEADER_KEY])
        spec, wanted = header["spec"], header["sha256"]
        version = int(spec["format_version"])
        foreign = spec["format"] != FORMAT
    except (KeyError, TypeError, ValueError, RecursionError):
        foreign, version, spec, wanted = True, 0, {}, None
    if foreign:
        raise ModelFileError(f"{path} is a safetensors file, but not one that jorbit wrote: its header has no spec.")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {version}, written by jorbit {spec.get('jorbit_version')}; this is jorbit "
            f"{__version__}, which reads up to {FORMAT_VERSION}. Update jorbit to that version."
        )
    try:
        tensors = {name: _tensor(raw) for name, raw in safetensors.deserialize(content)}
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged ({error}). Copy or download it again.") from error
    digest = _digest(spec, tensors)
    if wanted != digest:
        raise ModelFileError(
            f"{path} was changed after it was saved: its contents do not match their sha256. Copy or download it "
            "again, or train and save the model anew."
        )
    return spec, tensors, digest


def _tensor(raw: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(raw["data"], dtype=DTYPES[raw["dtype"]]).reshape(raw["shape"])


def _metadata(path: pathlib.Path, content: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    if not content:
        raise ModelFileError(f"{path} is empty. Was its writing interrupted? Copy or save it again.")
    # The first eight bytes of a safetensors file are the length of its header, which starts with a brace.
    if content[8:9] != b"{" and (content[:1] == b"\x80" or content[:2] == b"PK"):
        raise ModelFileError(
            f"{path} looks like a pickle or a PyTorch archive, which can run code when opened: jorbit never opens "
            "these. Wanted a .safetensors file written by jorbit.save."
        )
    n_header = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else None
    if n_header is None or (content[8:9] == b"{" and n_header > len(content) - 8):
        raise ModelFileError(f"{path} is truncated ({len(content)} bytes). Copy or download it again.")
    try:
        header = json.loads(content[8 : 8 + n_header]) if n_header <= len(content) - 8 else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ModelFileError(f"{path} is not a safetensors file. Wanted a model file written by jorbit.save.")
    entries = [v for k, v in header.items() if k != "__metadata__"]
    try:
        n_wanted = 8 + n_header + max((int(e["data_offsets"][1]) for e in entries), default=0)
    except (KeyError, TypeError, ValueError, IndexError):
        n_wanted = len(content)
    if len(content) < n_wanted:
        raise ModelFileError(f"{path} is truncated: {len(content)} of {n_wanted} bytes. Copy or download it again.")
    metadata = header.get("__metadata__", {})
    return metadata if isinstance(metadata, dict) else {}


def _write(path: pathlib.Path, content: bytes) -> None:
    """A full disk or Ctrl-C never leaves half a file; a link stays a link."""
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise ModelFileError(f"{path} cannot be written: it is not an ordinary file. Give the name of a file.")
        write_whole(path, content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{path} cannot be written: {reason}. Give another path, or make the folder.") from error


def _digest(spec: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """sha256 over the spec and, by name, every tensor's name, dtype, shape and bytes."""
    sha = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()


def _plain(value: Any) -> Any:
    """Provenance as JSON: numpy numbers and arrays become numbers and lists, paths strings."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ModelFileError(f"Provenance holds a {type(value).__name__}: wanted what JSON can hold.")


def _readable(options: Any) -> Any:
    """Options without the marks that restore tuples and dataclasses."""
    if isinstance(options, list):
        return [_readable(v) for v in options]
    if not isinstance(options, dict):
        return options
    if "tuple" in options:
        return _readable(options["tuple"])
    if "dict" in options:
        return {str(k): _readable(v) for k, v in options["dict"]}
    if "float" in options:
        return options["float"]
    if "dataclass" in options:
        return {options["dataclass"]: _readable(options["options"])}
    return {k: _readable(v) for k, v in options.items()}
