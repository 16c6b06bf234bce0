from .answered import AnsweredRow as AnsweredRow
from .answered import Counts as Counts
from .answered import RunIdentity as RunIdentity
from .journal import Journal as Journal
from .journal import JournalError as JournalError
from .labelling import LabelledTable as LabelledTable
from .labelling import RunInterruptedError as RunInterruptedError
from .labelling import label_table as label_table
