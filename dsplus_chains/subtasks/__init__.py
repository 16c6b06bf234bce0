"""Tasks made of declared subtasks. Small models do the easy ones, the large model does the hard ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
