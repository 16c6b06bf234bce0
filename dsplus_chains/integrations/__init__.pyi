from .app_shunt import AppShunt as AppShunt
from .hearing import Decisions as Decisions
from .hearing import decisions as decisions
from .shunt_chat import ShuntChatModel as ShuntChatModel
from .shunting import shunt as shunt
