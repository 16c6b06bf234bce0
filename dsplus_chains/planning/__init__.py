"""Plans made by the large model: data over registered skills, checked and never executed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
