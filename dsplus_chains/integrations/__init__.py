"""The way into people's apps: a shunt around an app, and who answered in it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
