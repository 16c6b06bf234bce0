from __future__ import annotations

import pytest

from dsplus_chains.corpus.journal import Counts


@pytest.mark.parametrize(
    ("deferred", "fallback", "tokens", "said"),
    [
        (4, 2, 30, "1 kept, 4 deferred (2 of them fallback), 30 tokens"),
        (2, 2, 0, "1 kept, 2 deferred (2 of them fallback), 0 tokens"),
        (2, 1, 0, "1 kept, 2 deferred (1 of them fallback), tokens unknown"),
    ],
)
def test_replies_of_a_model_that_does_not_tell_its_tokens_do_not_cost_nothing(deferred, fallback, tokens, said):
    assert str(Counts(kept=1, deferred=deferred, fallback=fallback, tokens=tokens)) == said
