"""What a small model costs before an agent of LangChain, beyond the small model itself.

Exits with 1 if a turn takes more than 1 ms longer. The figures are medians of CPU time over interleaved runs of one
process, because time on the clock tells more of a busy machine than of the code. Needs the extra `agents`.
"""

from __future__ import annotations

import sys
import time

from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from overhead import medians

from dsplus_chains import Prediction, RunnableScorer, ShuntMiddleware

LABELS = ["billing", "shipping"]
BOUND = 1.0
RUNS = 400


def predict(text: str) -> Prediction:
    """Sure of refunds only."""
    return Prediction(label="billing", confidence=0.97 if "refund" in text else 0.5)


def main() -> int:
    scorer = RunnableScorer(run=predict, labels=LABELS)
    model = FakeListChatModel(responses=["on its way"])
    plain = create_agent(model)
    shunted = create_agent(model, middleware=[ShuntMiddleware(scorer, threshold=0.9)])
    sure, unsure = ({"messages": [HumanMessage(text)]} for text in ("a refund", "where is it?"))
    alone, deferred, answered, scored = medians(
        RUNS,
        lambda: plain.invoke(unsure),
        lambda: shunted.invoke(unsure),
        lambda: shunted.invoke(sure),
        lambda: scorer.invoke("where is it?"),
        clock=time.process_time,
    )
    added = 1000 * (deferred - alone - scored)
    print(f"a turn of the agent alone         {1000 * alone:6.2f} ms")
    print(f"a turn that the agent answers     {1000 * deferred:6.2f} ms")
    print(f"a turn that the small one answers {1000 * answered:6.2f} ms")
    print(f"the small model                   {1000 * scored:6.2f} ms")
    print(f"added beyond the small model      {added:6.2f} ms (bound: {BOUND} ms)")
    return int(added > BOUND)


if __name__ == "__main__":
    sys.exit(main())
