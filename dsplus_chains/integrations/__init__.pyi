from .app_shunt import AppShunt as AppShunt
from .hearing import Decisions as Decisions
from .hearing import decisions as decisions
from .shunting import shunt as shunt
from .structured_shunt import StructuredShunt as StructuredShunt
