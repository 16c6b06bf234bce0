from .plan import PlanError as PlanError
from .plan import PlannedStep as PlannedStep
from .plan import Planning as Planning
from .plan import SubtaskPlan as SubtaskPlan
from .plan_cache import PlanCache as PlanCache
from .planner import SubtaskPlanner as SubtaskPlanner
from .shape import request_shape as request_shape
from .skill import Skill as Skill
