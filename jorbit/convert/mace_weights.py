"""Weights of one layer of mace-torch in jorbit's order, signs and basis of products."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from jorbit.basis.radial_network import SILU_NORM
from jorbit.basis.symmetric_contraction import ContractionPaths, dense_tables
from jorbit.core.errors import ModelFileError
from jorbit.models.mace import MACE

Arrays = Mapping[str, np.ndarray]


def describe_layers(model: Any) -> list[dict[str, Any]]:
    """Plain values of every layer that are not in the arrays: how e3nn orders and scales its paths."""
    layers = []
    for block in model.interactions:
        paths = []
        for ins in block.conv_tp.instructions:
            l1, l2, l3 = (
                irreps[i].ir.l
                for irreps, i in (
                    (block.conv_tp.irreps_in1, ins.i_in1),
                    (block.conv_tp.irreps_in2, ins.i_in2),
                    (block.conv_tp.irreps_out, ins.i_out),
                )
            )
            paths.append([int(l1), int(l2), int(l3), int(ins.i_out), float(ins.path_weight)])
        net = block.conv_tp_weights
        layers.append(
            {
                "paths": paths,
                "activation": float(net.layer0.act.cst) if hasattr(net.layer0, "act") else 1.0,
                "up": _degrees(block.linear_up),
                "mix": _degrees(block.linear),
                "skip": [
                    [int(block.skip_tp.irreps_in1[i.i_in1].ir.l), *map(int, i.path_shape), float(i.path_weight)]
                    for i in block.skip_tp.instructions
                ],
            }
        )
    for layer, product in zip(layers, model.products, strict=True):
        layer["update"] = _degrees(product.linear)
        layer["products"] = [int(ir.l) for _, ir in product.symmetric_contractions.irreps_out]
    last = model.readouts[-1]
    if hasattr(last, "non_linearity"):
        layers[-1]["readout_activation"] = float(last.non_linearity.acts[0].cst)
    for layer in layers:
        layer["n_readouts"] = len(model.readouts)
    return layers


def _degrees(linear: Any) -> list[list[Any]]:
    """[degree, inputs, outputs, factor] of each path of an e3nn linear map, in the order of its weights."""
    return [
        [int(linear.irreps_out[i.i_out].ir.l), *map(int, i.path_shape), float(i.path_weight)]
        for i in linear.instructions
    ]


def _cut(flat: np.ndarray, shapes: list[list[Any]]) -> list[tuple[int, np.ndarray]]:
    """(degree, weights times their factor) of each path of a flat array of weights."""
    found, start = [], 0
    flat = flat.reshape(-1)
    for degree, *shape, factor in shapes:
        size = int(np.prod(shape))
        found.append((degree, flat[start : start + size].reshape(shape) * factor))
        start += size
    if start != flat.size:
        raise ModelFileError(f"Wanted {start} weights of a linear map, got {flat.size}: another version of mace-torch?")
    return found


def layer_parameters(model: MACE, layer: int, options: Mapping[str, Any], arrays: Arrays, head: int) -> dict[str, Any]:
    """Parameters of one layer by jorbit's names."""
    shape, description = model.layer_shape(layer), options["layers"][layer]
    name, root = f"interactions.{layer}", np.sqrt(model.channels)
    new: dict[str, Any] = {}
    for l, kernel in _cut(arrays[f"{name}.linear_up.weight"], description["up"]):
        new[f"up_{layer}_{l}"] = kernel * root
    new |= _radial(model, layer, options, arrays)
    mixes: dict[int, list[np.ndarray]] = {}
    for l, kernel in _cut(arrays[f"{name}.linear.weight"], description["mix"]):
        mixes.setdefault(l, []).append(kernel)
    order = _path_order(options, layer)
    for l, kernels in mixes.items():
        mine = [p for p in shape.message_paths if p[2] == l]
        blocks = [kernels[order[l].index(p[:2])] for p in mine]
        new[f"mix_{layer}_{l}"] = np.concatenate(blocks) * np.sqrt(len(blocks)) * root
    n_species = len(options["numbers"])
    for l, kernel in _cut(arrays[f"{name}.skip_tp.weight"], description["skip"]):
        if f"skip_{layer}_{l}" in new or (shape.residual and l > shape.l_out):
            continue
        factor = _sign(options, l, 0, l) / np.sqrt(2 * l + 1)
        table = np.moveaxis(kernel, 1, 0) * factor * root
        new[f"skip_{layer}_{l}"] = {"labels": table.reshape(n_species, -1)}
    for l, kernel in _cut(arrays[f"products.{layer}.linear.weight"], description["update"]):
        if l <= shape.l_out:
            new[f"update_{layer}_{l}"] = kernel * root
    for k, l in enumerate(description["products"]):
        if l <= shape.l_out:
            prefix = f"products.{layer}.symmetric_contractions.contractions.{k}"
            table = _products(shape.products(l), model, arrays, prefix, n_species)
            new[f"products_{layer}_{l}"] = {"labels": table.reshape(n_species, -1)}
    return new | _readout(model, layer, options, arrays, head)


def _sign(options: Mapping[str, Any], *degrees: int) -> int:
    return options["signs"][" ".join(map(str, degrees))]


def _path_order(options: Mapping[str, Any], layer: int) -> dict[int, list[tuple[int, int]]]:
    """For each degree of the message its paths (neighbour, harmonic), in the order in which they are mixed."""
    order: dict[int, list[tuple[int, int]]] = {}
    for l1, l2, l3, *_ in sorted(options["layers"][layer]["paths"], key=lambda path: path[3]):
        order.setdefault(l3, []).append((l1, l2))
    return order


def _radial(model: MACE, layer: int, options: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    name, shape, description = f"interactions.{layer}", model.layer_shape(layer), options["layers"][layer]
    n = len(model.radial_widths)
    factor, new = description["activation"] / SILU_NORM, {}
    for k in range(n + 1):
        kernel = arrays[f"{name}.conv_tp_weights.layer{k}.weight"]
        new[f"radial_{layer}_{k}"] = kernel * (factor if k else 1.0)
    blocks = {}
    columns = np.split(new[f"radial_{layer}_{n}"], len(description["paths"]), axis=1)
    for (l1, l2, l3, _, weight), block in zip(description["paths"], columns, strict=True):
        blocks[l1, l2, l3] = block * weight * _sign(options, l1, l2, l3) / np.sqrt(2 * l3 + 1)
    new[f"radial_{layer}_{n}"] = np.concatenate([blocks[p] for p in shape.message_paths], axis=1)
    if model.density:
        new[f"density_{layer}"] = arrays[f"{name}.density_fn.layer0.weight"]
    return new


def _products(paths: ContractionPaths, model: MACE, arrays: Arrays, prefix: str, n_species: int) -> np.ndarray:
    """Weights [species, paths, channels] of jorbit's independent products.

    mace-torch's coupling tensors act on the same tensor in every factor, so only their symmetric parts count; those are
    written in jorbit's basis, which spans them.
    """
    rows = []
    for order in range(model.correlation, 0, -1):
        theirs = arrays[f"{prefix}.U_matrix_{order}"]
        which = "weights_max" if order == model.correlation else f"weights.{model.correlation - order - 1}"
        weights = arrays[f"{prefix}.{which}"]
        n_paths, n_components = theirs.shape[-1], theirs.shape[-2]
        theirs = np.moveaxis(theirs, -1, 0).reshape(n_paths, 2 * paths.degree + 1, *(n_components,) * order)
        axes = [(0, 1, *p) for p in itertools.permutations(range(2, order + 2))]
        symmetric = np.mean([theirs.transpose(p) for p in axes], axis=0).reshape(n_paths, -1)
        mine = dense_tables(paths, model.l_max, order).reshape(len(paths.of_order(order)), -1)
        change = np.linalg.lstsq(mine.T, symmetric.T, rcond=None)[0]
        if np.abs(change.T @ mine - symmetric).max() > 1e-6 * np.abs(symmetric).max():
            raise ModelFileError(f"The coupling tensors of {prefix} are not those of natural parity.")
        rows.append(np.einsum("jk,zkc->zjc", change, weights))
    table = np.concatenate(rows, axis=1)
    return np.broadcast_to(table, (n_species, *table.shape[1:]))


def _readout(model: MACE, layer: int, options: Mapping[str, Any], arrays: Arrays, head: int) -> dict[str, Any]:
    description, n_heads = options["layers"][layer], len(options["heads"])
    last = layer == model.n_layers - 1
    at = layer - model.n_layers + description["n_readouts"]
    if at < 0:  # only the last layer is read
        return {f"readout_{layer}_0": np.zeros((model.channels, 1))}
    if not (last and layer):
        return {f"readout_{layer}_0": arrays[f"readouts.{at}.linear.weight"].reshape(-1, n_heads)[:, head, None]}
    width = options["readout_width"]
    first = arrays[f"readouts.{at}.linear_1.weight"].reshape(model.channels, n_heads, width)[:, head]
    second = arrays[f"readouts.{at}.linear_2.weight"].reshape(n_heads, width, n_heads)[head, :, head, None]
    factor = description["readout_activation"] / SILU_NORM / np.sqrt(n_heads)
    return {f"readout_{layer}_0": first, f"readout_{layer}_1": second * factor}
