"""Fitting: closed-form solves, training by gradients, reference energies, splits, metrics, configuration."""

from jorbit.train.config import TrainConfig, json_schema, load_config
from jorbit.train.design import FitWeights
from jorbit.train.fit import FitResult, default_potential, fit
from jorbit.train.gradient import EnsembleResult, GradientResult, train_by_gradient, train_ensemble, train_heads
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.gradient_report import GradientReport
from jorbit.train.heads import HeadData, HeadsResult
from jorbit.train.labelled import label_frames, orbit_table
from jorbit.train.metrics import Metrics, evaluate
from jorbit.train.objective import LossWeights
from jorbit.train.orbit_weights import weigh_orbits
from jorbit.train.report import FitPosterior, FitReport, PredictiveStd
from jorbit.train.run import TrainResult, train
from jorbit.train.split import Split, by_config_type, random_split, stratified_split
from jorbit.train.statistics import mean_energy_baseline

__all__ = [
    "EnsembleResult",
    "FitPosterior",
    "FitReport",
    "FitResult",
    "FitWeights",
    "GradientConfig",
    "GradientReport",
    "GradientResult",
    "HeadData",
    "HeadsResult",
    "LossWeights",
    "Metrics",
    "PredictiveStd",
    "Split",
    "TrainConfig",
    "TrainResult",
    "by_config_type",
    "default_potential",
    "evaluate",
    "fit",
    "json_schema",
    "label_frames",
    "load_config",
    "mean_energy_baseline",
    "orbit_table",
    "random_split",
    "stratified_split",
    "train",
    "train_by_gradient",
    "train_ensemble",
    "train_heads",
    "weigh_orbits",
]
