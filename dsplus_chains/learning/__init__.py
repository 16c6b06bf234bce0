"""What a chain learns from its own traffic: decisions that are kept, and logs that users have."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
