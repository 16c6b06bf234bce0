from .candidate_verdict import Check as Check
from .candidate_verdict import Verdict as Verdict
from .candidate_verdict import as_verdict as as_verdict
from .verified_prediction import VerifiedPrediction as VerifiedPrediction
