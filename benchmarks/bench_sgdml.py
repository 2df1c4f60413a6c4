"""Speed and accuracy of sGDML beside the sgdml package, on ethanol, in pairs of runs on the same cores.

    python benchmarks/bench_sgdml.py --peer-python PYTHON_WITH_SGDML [--threads 1 2] [--train 200 1000]
        [--memory 20] [--rmd17 200]

The peer (sgdml 1.0.3 with numpy < 2.4 and torch) runs in an environment of its own and answers over a pipe, so that the
two take turns: every round times jorbit and then the peer, and ratios are of neighbouring rounds. Both have the same
training task and the same model. sgdml's numpy code is tuned by its own `prepare_parallel`. Training is timed whole
(kernel, factorisation, integration constant), without the search for permutations. Writes
benchmarks/results/sgdml.json. With --rmd17 both are trained on that many rMD17 frames (JORBIT_DATA) and measured on
1000 others. Rows of an earlier run stay unless they are measured again.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIGMA, ROUNDS = 20, 5

PEER = r"""
import json, sys, time, numpy as np, torch, sgdml, logging
from sgdml.train import GDMLTrain
from sgdml.predict import GDMLPredict
threads = int(sys.argv[1]); torch.set_num_threads(threads)
out = sys.stdout; sys.stdout = sys.stderr
def say(x):
    print(json.dumps(x), file=out, flush=True)
trainer, models = None, {}
def predictors(model):
    return {"numpy": GDMLPredict(model, max_processes=threads),
            "torch": GDMLPredict(model, max_processes=threads, use_torch=True)}
say({"sgdml": sgdml.__version__, "numpy": np.__version__, "torch": torch.__version__})
for line in sys.stdin:
    job = json.loads(line)
    if job["do"] == "train":
        data = dict(np.load(job["data"]))
        trainer = trainer or GDMLTrain(max_memory=job.get("memory", 4), max_processes=threads)
        task = {"type": "t", "code_version": sgdml.__version__, "dataset_name": "d", "dataset_theory": "t",
                "z": data["z"], "R_train": data["R"], "F_train": data["F"], "E_train": data["E"],
                "idxs_train": np.arange(len(data["R"])), "md5_train": "", "idxs_valid": np.zeros(0, int),
                "md5_valid": "", "sig": job["sigma"], "lam": 1e-10, "use_E": True, "use_E_cstr": False,
                "use_sym": True, "perms": data["perms"]}
        start = time.perf_counter(); model = trainer.train(task); seconds = time.perf_counter() - start
        np.savez_compressed(job["model"], **model)
        models = predictors(model)
        say({"seconds": seconds})
    elif job["do"] == "load":
        models = predictors(dict(np.load(job["model"])))
        say({"ok": 1})
    elif job["do"] == "prepare":
        models["numpy"].prepare_parallel(n_bulk=job["n"], n_reps=5)
        say({"ok": 1})
    elif job["do"] == "predict":
        R = np.load(job["R"]).reshape(-1, 27)[: job["n"]]
        model = models[job["path"]]; model.predict(R)
        times = []
        for _ in range(job["repeat"]):
            start = time.perf_counter(); e, f = model.predict(R); times.append(time.perf_counter() - start)
        say({"seconds": float(np.median(times))})
    elif job["do"] == "answers":
        R = np.load(job["R"]); e, f = models["numpy"].predict(R.reshape(len(R), -1))
        np.savez(job["to"], E=e, F=f.reshape(R.shape)); say({"ok": 1})
"""


class PeerStoppedError(Exception):
    """The other package's process ended; what it said last."""


class Peer:
    """The other package behind a pipe."""

    def __init__(self, python: str, threads: int):
        self.python, self.threads = python, threads
        self.start()

    def start(self) -> None:
        """A new process, which knows no model yet."""
        environment = os.environ | {k: str(self.threads) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self.process = subprocess.Popen(
            [self.python, "-c", PEER, str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.versions = self._read()

    def _read(self) -> dict:
        said = ""
        for line in self.process.stdout:  # type: ignore[union-attr]
            if line.startswith("{"):
                return json.loads(line)
            said = line.strip()
            print(f"  the peer says: {said}", file=sys.stderr, flush=True)
        raise PeerStoppedError(said or "no word")

    def ask(self, **job: Any) -> dict:
        self.process.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self._read()


def paired(mine: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {
        "jorbit_s": float(np.median(mine)),
        "sgdml_s": float(np.median(theirs)),
        "ratio": float(np.median(ratios)),
        "ratios": [round(r, 2) for r in ratios],
    }


def repeated(function: Any, repeat: int) -> float:
    function()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(peer: Peer, threads: int, n_train: int, memory: float, folder: pathlib.Path) -> list[dict]:
    """Rows of training and prediction; a peer that ends while it trains gets jorbit's model to predict with."""
    import jax
    import jax.numpy as jnp

    import jorbit
    from jorbit.convert.sgdml import write_sgdml_dataset, write_sgdml_model
    from jorbit.models.sgdml import _predict
    from jorbit.potential.predict import predict

    jax.config.update("jax_enable_x64", True)
    frames = jorbit.read("ethanol_gfn2")
    chosen = frames[: 1000 : max(1, 1000 // n_train)][:n_train]
    orbits = jorbit.find_orbits(frames[:200], feasible=True)
    fit = {"sigma": float(SIGMA), "orbits": orbits}
    group = jorbit.fit_sgdml(chosen[:10], **fit).params["sgdml"]["permutations"]
    write_sgdml_dataset(folder / "train.npz", chosen, permutations=group)
    positions = np.stack([f.structure.positions for f in frames[1001:1101]])
    np.save(folder / "R.npy", positions)
    files = {"data": str(folder / "train.npz"), "model": str(folder / "model.npz"), "R": str(folder / "R.npy")}
    rows: list[dict] = []

    def note(what: str, path: str, values: dict, **more: Any) -> None:
        row = {"what": what, "peer": f"sgdml {path}", "threads": threads, "n_train": n_train} | values | more
        row["load_average"] = round(os.getloadavg()[0], 2)
        rows.append(row)
        print(row, flush=True)

    mine, theirs = [], []
    model = jorbit.fit_sgdml(chosen, permutations=group, sigma=float(SIGMA))  # compiles
    try:
        for _ in range(2 if n_train < 500 else 1):
            start = time.perf_counter()
            model = jorbit.fit_sgdml(chosen, permutations=group, sigma=float(SIGMA))
            mine.append(time.perf_counter() - start)
            theirs.append(peer.ask(do="train", sigma=SIGMA, memory=memory, **files)["seconds"])
        note("train", "closed form", paired(mine, theirs))
    except PeerStoppedError as error:
        note("train", "closed form", {"jorbit_s": float(np.median(mine)), "failed": str(error)})
        peer.start()
        write_sgdml_model(files["model"], model.potential, model.params)
        peer.ask(do="load", model=files["model"])

    params = jax.device_put(model.params["sgdml"])
    both = jax.device_put(model.params)
    graph = model.potential.graph(frames[1001].structure, dtype=jnp.float64)
    for n in (1, 100):
        r = jax.device_put(jnp.asarray(positions[:n]))
        peer.ask(do="prepare", n=n)
        ways = {"energies and forces": lambda r=r: jax.block_until_ready(_predict((), params, r, None))}
        if n == 1:
            ways["predict(potential, params, graph)"] = lambda: jax.block_until_ready(
                predict(model.potential, both, graph)
            )
        for way, call in ways.items():
            for path in ("numpy", "torch"):
                mine, theirs = [], []
                for _ in range(ROUNDS):
                    mine.append(repeated(call, 30))
                    theirs.append(peer.ask(do="predict", path=path, n=n, repeat=15, R=files["R"])["seconds"])
                note(f"predict {n}", path, paired(mine, theirs), way=way)
    return rows


def accuracy(peer: Peer, n_train: int, folder: pathlib.Path) -> dict:
    """Errors of both after training on the same rMD17 frames."""
    import jorbit
    from jorbit.convert.sgdml import write_sgdml_dataset
    from jorbit.core.units import KCAL_MOL
    from jorbit.datasets import load_dataset
    from jorbit.models.sgdml import predict_geometries

    data = load_dataset("rmd17_ethanol")
    train, test = data.split("train_01")[:n_train], data.split("test_01")[:1000]
    start = time.perf_counter()
    model = jorbit.fit_sgdml(train, sigma=float(SIGMA))
    seconds = time.perf_counter() - start
    group = model.params["sgdml"]["permutations"]
    write_sgdml_dataset(folder / "rmd17.npz", train, permutations=group)
    positions = np.stack([f.structure.positions for f in test])
    np.save(folder / "rmd17.npy", positions)
    peer.ask(do="train", sigma=SIGMA, data=str(folder / "rmd17.npz"), model=str(folder / "m.npz"))
    peer.ask(do="answers", R=str(folder / "rmd17.npy"), to=str(folder / "answers.npz"))
    answers = np.load(folder / "answers.npz")
    energies, forces = predict_geometries(model.potential.terms[0], model.params["sgdml"], positions)  # type: ignore[arg-type]
    e, f = np.array([x.labels.energy for x in test]), np.stack([x.labels.forces for x in test])

    def errors(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        return {
            "energy_mae_meV": float(1e3 * np.abs(a - e).mean()),
            "force_mae_meV_A": float(1e3 * np.abs(b - f).mean()),
        }

    mine, theirs = errors(energies, forces), errors(answers["E"] * KCAL_MOL, answers["F"] * KCAL_MOL)
    return {
        "what": "rMD17 ethanol",
        "n_train": n_train,
        "n_test": len(test),
        "n_permutations": len(group),
        "sigma": SIGMA,
        "fit_s": round(seconds, 1),
        "jorbit": mine,
        "sgdml": theirs,
        "force_mae_ratio": mine["force_mae_meV_A"] / theirs["force_mae_meV_A"],
        "largest_difference_of_forces_meV_A": float(1e3 * np.abs(forces - answers["F"] * KCAL_MOL).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--train", type=int, nargs="+", default=[200], help="frames; one set of rows for each number")
    parser.add_argument("--memory", type=float, default=4, help="GiB that sgdml may plan with; 20 for 1000 frames")
    parser.add_argument("--rmd17", type=int, default=0)
    parser.add_argument("--note", default="", help="what else ran on the machine")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    folder = pathlib.Path(tempfile.mkdtemp())
    if options.child:
        peer = Peer(options.peer_python, options.threads[0])
        rows = []
        for n_train in options.train:
            rows += measure(peer, options.threads[0], n_train, options.memory, folder)
        if options.rmd17:
            rows.append(accuracy(peer, options.rmd17, folder))
            print(rows[-1], flush=True)
        print("ROWS" + json.dumps({"rows": rows, "peers": peer.versions}))
        return
    from benchmarks.common import RESULTS, environment, write

    def key(row: dict) -> str:
        return "|".join(str(row.get(k)) for k in ("what", "peer", "way", "threads", "n_train"))

    path = RESULTS / "sgdml.json"
    rows = {key(row): row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    for threads in options.threads:
        single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        env["XLA_FLAGS"] = single if threads == 1 else ""
        command = [sys.executable, __file__, "--child", "--peer-python", options.peer_python]
        command += ["--threads", str(threads), "--memory", str(options.memory)]
        command += ["--train", *map(str, options.train)]
        command += ["--rmd17", str(options.rmd17 if threads == options.threads[-1] else 0)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        found = json.loads(done.stdout.split("ROWS")[1])
        rows |= {key(row): row for row in found["rows"]}
        ordered = sorted(rows.values(), key=lambda row: (row.get("threads", 99), row["n_train"]))
        more = {"environment": environment(), "peers": found["peers"], "note": options.note}
        write("sgdml", "sGDML on ethanol beside sgdml", ordered, **more)
        for row in found["rows"]:
            print(row)


if __name__ == "__main__":
    main()
