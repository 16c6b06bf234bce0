"""Data Shunt+ as LangChain Runnables.

A small model answers the inputs it is sure of; the large model gets the rest, with what the small one knows in its
prompt. Names are loaded on first use: importing the package loads neither torch nor any model library.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

# What a first page needs. Everything else that the stub names can be imported from here too, or from its room.
__all__ = [
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
