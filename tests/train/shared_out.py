"""A short training in processes of its own: python shared_out.py n_devices [process_id n_processes port]."""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))


def main(devices: int, process: int = 0, n_processes: int = 1, port: int = 0) -> None:
    """Print one line of JSON: parameters, losses, and what the compiled step sends between devices."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices // n_processes}"
    import jax

    if n_processes > 1:
        jax.distributed.initialize(f"localhost:{port}", n_processes, process)
    import numpy as np
    from resumable import CONFIG
    from toy_pair import PAIR_ONLY, TOY, labelled, random_structures, true_params

    from jorbit.core.compilation import compilations
    from jorbit.models import MODELS
    from jorbit.train.gradient import train_by_gradient

    MODELS._all().update({"toy_pair": "toy_pair:ToyPair"})
    frames = labelled(random_structures(15, periodic=True, seed=3), TOY, true_params())
    config = dataclasses.replace(CONFIG, epochs=6, batch_size=6, dtype="float64", log_every=2, devices=devices)
    result = train_by_gradient(PAIR_ONLY, frames[:11], frames[11:], config)
    leaves = jax.tree.leaves(result.params)
    content = {
        "n_devices": len(jax.devices()),
        "params": np.concatenate([np.ravel(leaf) for leaf in leaves]).tolist(),
        "losses": [e["validation"]["loss"] for e in result.report.history],
        "compilations": compilations()["train step"],
        "sha": hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest(),
    }
    print("RESULT " + json.dumps(content), flush=True)


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:]])
