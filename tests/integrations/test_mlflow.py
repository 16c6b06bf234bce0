"""MLflow logs a chain as the code that makes it, loads it and serves it, as a notebook says."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is no dependency; pip install mlflow-skinny"),
]

CHAIN = """
import mlflow
from langchain_core.language_models import FakeListChatModel
from dsplus_chains import Prediction, data_shunt

def small(text):
    return Prediction(label="negative", confidence=0.97 if "broke" in text else 0.5)

large = FakeListChatModel(responses=["positive"])
settings = {"labels": ["positive", "negative"], "instruction": "Which?", "threshold": 0.9}
mlflow.models.set_model(data_shunt(small, large, **settings).pick("answer"))
"""
LOGS = """
import mlflow
mlflow.set_tracking_uri("file:runs")
with mlflow.start_run():
    uri = mlflow.langchain.log_model(lc_model="chain.py", name="chain").model_uri
texts = ["it broke", "so so"]
print(*mlflow.langchain.load_model(uri).batch(texts), *mlflow.pyfunc.load_model(uri).predict(texts))
"""


def test_a_chain_is_logged_as_code_and_predicts(tmp_path):
    (tmp_path / "chain.py").write_text(CHAIN)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOGS],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true"},  # mlflow-skinny has no database
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["negative positive negative positive"], done.stderr[-2000:]
