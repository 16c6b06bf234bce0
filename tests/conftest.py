"""Fixtures that all tests share."""

from __future__ import annotations

import pytest
from fakes import TinyEncoder
from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of the code. Seeded, so that each run tries the same examples.
settings.register_profile("any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TEXTS = ["good phone", "good price", "nice and good", "bad phone", "bad price", "bad and ugly"]
LABELS = ["positive", "positive", "positive", "negative", "negative", "negative"]


@pytest.fixture
def encoder():
    return TinyEncoder()


@pytest.fixture
def scorer(encoder):
    from dsplus_chains import SmallModelScorer

    fitted = SmallModelScorer.fit(TEXTS, LABELS, encoder=encoder)
    encoder.calls.clear()
    return fitted
