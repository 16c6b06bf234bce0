from .bootstrapping import bootstrap as bootstrap
from .experience import Experience as Experience
from .judging import Judgement as Judgement
from .learner import learn as learn
from .promotion import Promotion as Promotion
from .promotion import promote as promote
from .versions import Versions as Versions
