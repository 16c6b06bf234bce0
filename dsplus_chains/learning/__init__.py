"""Learning: decisions are kept, logs are read, and what the large model answers teaches the small one."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
