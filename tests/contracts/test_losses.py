"""Every registered loss keeps its contract."""

import pytest

from jorbit.losses import LOSSES
from jorbit.testing import LOSS_CHECKS


@pytest.mark.parametrize("check", LOSS_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", LOSSES)
def test(name, check, x64):
    check(LOSSES.load(name).tiny())
