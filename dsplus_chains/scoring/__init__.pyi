from .base_scorer import BaseScorer as BaseScorer
from .chat_model import ChatModelScorer as ChatModelScorer
from .estimator import EstimatorScorer as EstimatorScorer
from .mask import LabelMask as LabelMask
from .multi_label import MultiLabelScorer as MultiLabelScorer
from .pipeline import PipelineScorer as PipelineScorer
from .runnable import RunnableScorer as RunnableScorer
from .small_model import SmallModelScorer as SmallModelScorer
