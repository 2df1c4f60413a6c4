"""Registries load lazily, suggest close names, and refuse clashes."""

import importlib.metadata

import pytest

from jorbit.core.errors import ConfigError
from jorbit.core.registry import Registry
from jorbit.descriptors import DESCRIPTORS
from jorbit.losses import LOSSES
from jorbit.models import MODELS
from jorbit.terms import TERMS

ALL = [MODELS, TERMS, DESCRIPTORS, LOSSES]


@pytest.mark.parametrize("registry", ALL, ids=lambda r: r.kind)
def test_every_row_leads_to_a_class_that_knows_its_name(registry):
    for name in registry:
        assert registry.name_of(registry.load(name)) == name


@pytest.mark.parametrize("registry", ALL, ids=lambda r: r.kind)
def test_every_component_has_a_docstring_and_a_tiny_instance(registry):
    for name in registry:
        cls = registry.load(name)
        assert (cls.__doc__ or "").strip() and callable(cls.tiny)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="no model called 'linear_aec'. Did you mean 'linear_ace'"):
        MODELS.load("linear_aec")


def test_a_table_does_not_import_what_nobody_asked_for():
    table = Registry("model", {"absent": "no_such_module:Model"})
    assert list(table) == ["absent"] and len(table) == 1
    with pytest.raises(ModuleNotFoundError):
        table.load("absent")


def entry_points(**wanted):
    def fake(*, group):
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in wanted.items()]

    return fake


def test_other_packages_add_components(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points(counter="collections:Counter"))
    assert Registry("model", {}).load("counter").__name__ == "Counter"


def test_other_packages_cannot_replace_components(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points(mine="collections:Counter"))
    with pytest.raises(ConfigError, match="redefines the model 'mine'"):
        Registry("model", {"mine": "a:B"}).load("mine")


def test_entry_point_groups_are_english():
    assert [r.group for r in ALL] == ["jorbit.models", "jorbit.terms", "jorbit.descriptors", "jorbit.losses"]
