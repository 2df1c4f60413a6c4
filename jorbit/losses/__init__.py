"""Scalar misfits of a prediction. One file each; nothing else names them but this table."""

from jorbit.core.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "charges": "jorbit.losses.charges:ChargesLoss",
        "energy": "jorbit.losses.energy:EnergyLoss",
        "forces": "jorbit.losses.forces:ForcesLoss",
        "stress": "jorbit.losses.stress:StressLoss",
        "huber": "jorbit.losses.huber:HuberLoss",
        "nll": "jorbit.losses.nll:NegativeLogLikelihood",
    },
)
