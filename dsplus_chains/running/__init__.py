"""How a Runnable runs: one flow each, its two drivers, arms, usage."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
