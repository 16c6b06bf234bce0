"""Data Shunt+ as LangChain Runnables.

A small model answers the inputs it is sure of; the large model gets the rest, with what the small one knows in its
prompt. Names are loaded on first use: importing the package loads neither torch nor any model library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsplus_chains.bundle import Bundle as Bundle
    from dsplus_chains.calibration.track_record import TrackRecord as TrackRecord
    from dsplus_chains.encoding.language_model import LanguageModelEncoder as LanguageModelEncoder
    from dsplus_chains.encoding.union import EncoderUnion as EncoderUnion
    from dsplus_chains.evaluation.evaluate import evaluate as evaluate
    from dsplus_chains.evaluation.report import write_report as write_report
    from dsplus_chains.evaluation.result import Evaluation as Evaluation
    from dsplus_chains.evaluation.subtasks import report_subtasks as report_subtasks
    from dsplus_chains.gating.branch import ConfidenceBranch as ConfidenceBranch
    from dsplus_chains.gating.fusion import AnswerFusion as AnswerFusion
    from dsplus_chains.integrations.local_chat import LocalChatModel as LocalChatModel
    from dsplus_chains.prompting.asking import LabelAsker as LabelAsker
    from dsplus_chains.prompting.builder import HintPromptBuilder as HintPromptBuilder
    from dsplus_chains.prompting.exemplars import ExemplarSelector as ExemplarSelector
    from dsplus_chains.prompting.explaining import OverrideExplainer as OverrideExplainer
    from dsplus_chains.prompting.parser import LabelParser as LabelParser
    from dsplus_chains.prompting.parser import NoneOfTheseError as NoneOfTheseError
    from dsplus_chains.prompting.strong import strong_labels as strong_labels
    from dsplus_chains.schema import BundleError as BundleError
    from dsplus_chains.schema import DSPlusError as DSPlusError
    from dsplus_chains.schema import Explanation as Explanation
    from dsplus_chains.schema import InfeasibleTargetError as InfeasibleTargetError
    from dsplus_chains.schema import InvalidInputError as InvalidInputError
    from dsplus_chains.schema import LargeAnswer as LargeAnswer
    from dsplus_chains.schema import Passage as Passage
    from dsplus_chains.schema import Prediction as Prediction
    from dsplus_chains.schema import ShuntRecord as ShuntRecord
    from dsplus_chains.schema import SubtaskError as SubtaskError
    from dsplus_chains.schema import SubtaskResult as SubtaskResult
    from dsplus_chains.schema import TrainingDataError as TrainingDataError
    from dsplus_chains.schema import WiringError as WiringError
    from dsplus_chains.scoring.base import BaseScorer as BaseScorer
    from dsplus_chains.scoring.chat import ChatModelScorer as ChatModelScorer
    from dsplus_chains.scoring.estimator import EstimatorScorer as EstimatorScorer
    from dsplus_chains.scoring.masking import LabelMask as LabelMask
    from dsplus_chains.scoring.pipeline import PipelineScorer as PipelineScorer
    from dsplus_chains.scoring.runnable import RunnableScorer as RunnableScorer
    from dsplus_chains.scoring.scorer import SmallModelScorer as SmallModelScorer
    from dsplus_chains.shunt import data_shunt as data_shunt
    from dsplus_chains.skills.patterns import PatternExtractor as PatternExtractor
    from dsplus_chains.skills.ranking import SentenceRanker as SentenceRanker
    from dsplus_chains.subtasks.decomposer import SubtaskDecomposer as SubtaskDecomposer
    from dsplus_chains.subtasks.keeping import Keep as Keep
    from dsplus_chains.subtasks.mapping import MapParts as MapParts
    from dsplus_chains.subtasks.mapping import MapSubtask as MapSubtask
    from dsplus_chains.subtasks.plan import Subtask as Subtask
    from dsplus_chains.subtasks.plan_schema import PlanError as PlanError
    from dsplus_chains.subtasks.plan_schema import SubtaskPlan as SubtaskPlan
    from dsplus_chains.subtasks.planner import SubtaskPlanner as SubtaskPlanner
    from dsplus_chains.subtasks.skill import Skill as Skill
    from dsplus_chains.tuning.hint_search import HintSearch as HintSearch
    from dsplus_chains.tuning.hints import tune_hints as tune_hints
    from dsplus_chains.tuning.result import TunedThreshold as TunedThreshold
    from dsplus_chains.tuning.threshold import tune_threshold as tune_threshold

__version__ = "0.1.0"

_HOMES = {
    "AnswerFusion": "gating.fusion",
    "BaseScorer": "scoring.base",
    "Bundle": "bundle",
    "BundleError": "schema",
    "ChatModelScorer": "scoring.chat",
    "ConfidenceBranch": "gating.branch",
    "DSPlusError": "schema",
    "EncoderUnion": "encoding.union",
    "EstimatorScorer": "scoring.estimator",
    "Evaluation": "evaluation.result",
    "ExemplarSelector": "prompting.exemplars",
    "Explanation": "schema",
    "HintPromptBuilder": "prompting.builder",
    "HintSearch": "tuning.hint_search",
    "InfeasibleTargetError": "schema",
    "InvalidInputError": "schema",
    "Keep": "subtasks.keeping",
    "LabelAsker": "prompting.asking",
    "LabelMask": "scoring.masking",
    "LabelParser": "prompting.parser",
    "LanguageModelEncoder": "encoding.language_model",
    "LargeAnswer": "schema",
    "LocalChatModel": "integrations.local_chat",
    "MapParts": "subtasks.mapping",
    "MapSubtask": "subtasks.mapping",
    "NoneOfTheseError": "prompting.parser",
    "OverrideExplainer": "prompting.explaining",
    "Passage": "schema",
    "PatternExtractor": "skills.patterns",
    "PipelineScorer": "scoring.pipeline",
    "PlanError": "subtasks.plan_schema",
    "Prediction": "schema",
    "RunnableScorer": "scoring.runnable",
    "SQLiteAnswerCache": "integrations.answer_cache",
    "SentenceRanker": "skills.ranking",
    "ShuntRecord": "schema",
    "Skill": "subtasks.skill",
    "SmallModelScorer": "scoring.scorer",
    "Subtask": "subtasks.plan",
    "SubtaskDecomposer": "subtasks.decomposer",
    "SubtaskError": "schema",
    "SubtaskPlan": "subtasks.plan_schema",
    "SubtaskPlanner": "subtasks.planner",
    "SubtaskResult": "schema",
    "TrackRecord": "calibration.track_record",
    "TrainingDataError": "schema",
    "TunedThreshold": "tuning.result",
    "WiringError": "schema",
    "data_shunt": "shunt",
    "evaluate": "evaluation.evaluate",
    "report_subtasks": "evaluation.subtasks",
    "strong_labels": "prompting.strong",
    "tune_hints": "tuning.hints",
    "tune_threshold": "tuning.threshold",
    "write_report": "evaluation.report",
}
"""The module that each public name lives in."""

__all__ = [
    "AnswerFusion",
    "BaseScorer",
    "Bundle",
    "BundleError",
    "ChatModelScorer",
    "ConfidenceBranch",
    "DSPlusError",
    "EncoderUnion",
    "EstimatorScorer",
    "Evaluation",
    "ExemplarSelector",
    "Explanation",
    "HintPromptBuilder",
    "HintSearch",
    "InfeasibleTargetError",
    "InvalidInputError",
    "Keep",
    "LabelAsker",
    "LabelMask",
    "LabelParser",
    "LanguageModelEncoder",
    "LargeAnswer",
    "LocalChatModel",
    "MapParts",
    "MapSubtask",
    "NoneOfTheseError",
    "OverrideExplainer",
    "Passage",
    "PatternExtractor",
    "PipelineScorer",
    "PlanError",
    "Prediction",
    "RunnableScorer",
    "SQLiteAnswerCache",
    "SentenceRanker",
    "ShuntRecord",
    "Skill",
    "SmallModelScorer",
    "Subtask",
    "SubtaskDecomposer",
    "SubtaskError",
    "SubtaskPlan",
    "SubtaskPlanner",
    "SubtaskResult",
    "TrackRecord",
    "TrainingDataError",
    "TunedThreshold",
    "WiringError",
    "data_shunt",
    "evaluate",
    "report_subtasks",
    "strong_labels",
    "tune_hints",
    "tune_threshold",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
