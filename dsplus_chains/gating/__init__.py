"""The gate: who answers, the small model or the large one, and whose word is the last."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
