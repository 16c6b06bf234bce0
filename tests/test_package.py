"""What `import dsplus_chains` promises."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from clock import at_most

import dsplus_chains

PUBLIC = [
    "AnswerFusion",
    "Bundle",
    "ChatModelScorer",
    "ConfidenceBranch",
    "DSPlusError",
    "Evaluation",
    "ExemplarSelector",
    "ExperienceStore",
    "HintPromptBuilder",
    "LabelParser",
    "LabelTask",
    "LocalChatModel",
    "MapSubtask",
    "Prediction",
    "RunnableScorer",
    "SQLiteAnswerCache",
    "ShuntRecord",
    "SmallModelScorer",
    "Subtask",
    "SubtaskDecomposer",
    "SubtaskPlanner",
    "TunedThreshold",
    "data_shunt",
    "evaluate",
    "record_answers",
    "shunt",
    "tune_hints",
    "tune_threshold",
    "write_report",
]
"""What a first page needs."""

MORE = [
    "BaseScorer",
    "BundleError",
    "DSPlusWarning",
    "EncoderUnion",
    "EstimatorScorer",
    "Explanation",
    "HintSearch",
    "ImageEncoder",
    "InfeasibleTargetError",
    "InvalidInputError",
    "Keep",
    "LabelAsker",
    "LabelMask",
    "LabelWarning",
    "ModelComposer",
    "LanguageModelEncoder",
    "LargeAnswer",
    "MapParts",
    "MultiLabelScorer",
    "NoneOfTheseError",
    "NumberScorer",
    "OverlapWarning",
    "OverrideExplainer",
    "Passage",
    "PatternExtractor",
    "PipelineScorer",
    "PlanError",
    "SentenceRanker",
    "Skill",
    "StructuredShunt",
    "SubtaskError",
    "SubtaskPlan",
    "SubtaskResult",
    "TextPair",
    "TrackRecord",
    "VerifiedScorer",
    "Versions",
    "TrainingDataError",
    "TrainingDataWarning",
    "WiringError",
    "bootstrap",
    "learn",
    "promote",
    "read_logs",
    "report_subtasks",
    "strong_labels",
]
"""What can be imported from the top without being listed there."""


def test_the_public_names_are_pinned():
    assert dsplus_chains.__all__ == PUBLIC
    for name in PUBLIC + MORE:
        assert getattr(dsplus_chains, name).__module__.startswith("dsplus_chains.")
        assert name in dir(dsplus_chains)
    with pytest.raises(AttributeError, match="Shunt"):
        dsplus_chains.Shunt  # noqa: B018


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_is_light_and_quick():
    heavy = ["torch", "sentence_transformers", "faiss", "sklearn", "scipy", "transformers"]
    code = f"import sys, dsplus_chains; print([name for name in {heavy!r} if name in sys.modules])"
    with at_most(1.5, lambda: sum(os.times()[2:4])):  # of the processes that were started
        assert run(code).strip() == "[]"


def test_the_light_names_load_no_model_library():
    heavy = {
        "Bundle",
        "Evaluation",
        "HintSearch",
        "ModelComposer",
        "MultiLabelScorer",
        "NumberScorer",
        "SmallModelScorer",
        "TunedThreshold",
        "Versions",
        "bootstrap",
        "evaluate",
        "learn",
        "promote",
        "tune_hints",
        "tune_threshold",
        "write_report",
    }
    light = [name for name in PUBLIC + MORE if name not in heavy]
    code = (
        "import sys, dsplus_chains\n"
        f"[getattr(dsplus_chains, name) for name in {light!r}]\n"
        "heavy = ('torch', 'sentence_transformers', 'faiss', 'sklearn', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_import_opens_no_socket():
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise SystemExit('a socket at import')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import dsplus_chains\n"
        "[getattr(dsplus_chains, name) for name in dir(dsplus_chains)]\n"
        "print('quiet')"
    )
    assert run(code) == "quiet\n"


def test_the_command_starts_without_tracers_and_model_libraries():
    heavy = ["langsmith", "numpy", "torch", "langchain_openai"]
    code = f"import sys, dsplus_chains.cli; print([name for name in {heavy!r} if name in sys.modules])"
    assert run(code).strip() == "[]"
