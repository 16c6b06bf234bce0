"""Plans that the large model makes over registered skills. A plan is checked data, never code."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
