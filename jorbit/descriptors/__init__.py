"""Graph -> invariant features of each atom. One file each; nothing else names them but this table."""

from jorbit.core.registry import Registry

DESCRIPTORS = Registry(
    "descriptor",
    {
        "ace": "jorbit.descriptors.ace:ACE",
        "pruned": "jorbit.descriptors.pruned:Pruned",
    },
)
