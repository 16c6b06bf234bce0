from .experience import Experience as Experience
from .experience_store import ExperienceStore as ExperienceStore
from .logs import Logs as Logs
from .logs import read_logs as read_logs
from .recording import record_answers as record_answers
