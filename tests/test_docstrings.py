"""Every example in a docstring runs and shows what it says."""

import doctest
import importlib
import pathlib
import re

import pytest

import jorbit

ROOT = pathlib.Path(jorbit.__file__).parent
MODULES = [
    ".".join(("jorbit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if re.search(r"^\s*>>> ", path.read_text(), flags=re.MULTILINE)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
