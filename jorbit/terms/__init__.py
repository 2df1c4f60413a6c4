"""Physics terms. One file each; nothing else names them but this table."""

from jorbit.core.registry import Registry

TERMS = Registry(
    "term",
    {
        "charge_equilibration": "jorbit.terms.charge_equilibration:ChargeEquilibration",
        "dispersion": "jorbit.terms.dispersion:Dispersion",
        "ewald": "jorbit.terms.ewald:Ewald",
        "fixed_charges": "jorbit.terms.fixed_charges:FixedCharges",
        "latent_ewald": "jorbit.terms.latent_ewald:LatentEwald",
        "lennard_jones": "jorbit.terms.lennard_jones:LennardJones",
        "multipoles": "jorbit.terms.multipoles:Multipoles",
        "reference_energy": "jorbit.terms.reference_energy:ReferenceEnergy",
        "repulsion": "jorbit.terms.repulsion:Repulsion",
        "stillinger_weber": "jorbit.terms.stillinger_weber:StillingerWeber",
        "zbl": "jorbit.terms.zbl:ZBL",
    },
)
