"""Learned terms. One file each; nothing else names them but this table."""

from jorbit.core.registry import Registry

MODELS = Registry(
    "model",
    {
        "ani": "jorbit.models.ani:ANI",
        "hiphop": "jorbit.models.hiphop:HipHop",
        "hipnn": "jorbit.models.hipnn:HipNN",
        "charges": "jorbit.models.charges:Charges",
        "dimenet": "jorbit.models.dimenet:DimeNet",
        "gap": "jorbit.models.gap:GAP",
        "three_body_gap": "jorbit.models.gap_three_body:ThreeBodyGAP",
        "two_body_gap": "jorbit.models.gap_two_body:TwoBodyGAP",
        "linear_ace": "jorbit.models.linear_ace:LinearACE",
        "mace": "jorbit.models.mace:MACE",
        "nequip": "jorbit.models.nequip:NequIP",
        "neuralil": "jorbit.models.neuralil:NeuralIL",
        "painn": "jorbit.models.painn:PaiNN",
        "readout": "jorbit.models.readout:Readout",
        "schnet": "jorbit.models.schnet:SchNet",
        "sgdml": "jorbit.models.sgdml:SGDML",
    },
)
