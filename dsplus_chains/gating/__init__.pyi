from .branch import ConfidenceBranch as ConfidenceBranch
from .composer import ModelComposer as ModelComposer
from .composition import CompositionReport as CompositionReport
from .fusion import AnswerFusion as AnswerFusion
from .replaying import RecordedAnswer as RecordedAnswer
from .replaying import RecordedArm as RecordedArm
from .replaying import replay as replay
