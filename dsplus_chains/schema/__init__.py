"""What flows through a chain: the record, predictions, answers, and the errors that a user may meet."""

from dsplus_chains.schema.errors import BundleError as BundleError
from dsplus_chains.schema.errors import DSPlusError as DSPlusError
from dsplus_chains.schema.errors import InfeasibleTargetError as InfeasibleTargetError
from dsplus_chains.schema.errors import InvalidInputError as InvalidInputError
from dsplus_chains.schema.errors import SubtaskError as SubtaskError
from dsplus_chains.schema.errors import TrainingDataError as TrainingDataError
from dsplus_chains.schema.errors import WiringError as WiringError
from dsplus_chains.schema.errors import describe_error as describe_error
from dsplus_chains.schema.record import ShuntRecord as ShuntRecord
from dsplus_chains.schema.record import check_answered as check_answered
from dsplus_chains.schema.record import is_record as is_record
from dsplus_chains.schema.subtasks import ASKED_LARGE as ASKED_LARGE
from dsplus_chains.schema.subtasks import SKIPPED as SKIPPED
from dsplus_chains.schema.subtasks import Passage as Passage
from dsplus_chains.schema.subtasks import SubtaskResult as SubtaskResult
from dsplus_chains.schema.subtasks import SubtaskResults as SubtaskResults
from dsplus_chains.schema.values import ROUNDING as ROUNDING
from dsplus_chains.schema.values import Confidence as Confidence
from dsplus_chains.schema.values import Explanation as Explanation
from dsplus_chains.schema.values import LargeAnswer as LargeAnswer
from dsplus_chains.schema.values import Prediction as Prediction
from dsplus_chains.schema.values import percent as percent
from dsplus_chains.schema.values import shorten as shorten
