"""Fixtures that all tests share."""

from __future__ import annotations

import pytest
from fakes import TinyEncoder

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
