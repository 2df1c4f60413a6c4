"""Exceptions of jorbit. Each message says what was wanted, what came, and what to do."""


class JorbitError(Exception):
    """Base of every error jorbit raises on purpose; the command line prints it without a traceback."""


class StructureError(JorbitError):
    """A structure that cannot be used: NaN positions, singular cell, wrong shapes, no atoms."""


class OrbitError(StructureError):
    """A structure whose atoms cannot be given the orbits that a model tells apart."""


class UnknownSpeciesError(JorbitError):
    """An element (or orbit) that the model was not made for."""


class MissingInputError(JorbitError):
    """A component needs something that nothing before it provided."""


class CapacityError(JorbitError):
    """More atoms, structures or neighbours than the static shapes hold."""


class DataError(JorbitError):
    """A data file that cannot be read or whose labels contradict each other."""


class ModelFileError(JorbitError):
    """A model file that is truncated, foreign, newer than this version, or tampered with."""


class ConfigError(JorbitError):
    """A configuration with an unknown key or a value of the wrong kind."""


class SimulationError(JorbitError):
    """A simulation that cannot go on: energies or positions are no longer finite."""


class TrainingError(JorbitError):
    """A training that cannot go on: the loss is no longer finite, or has exploded."""
