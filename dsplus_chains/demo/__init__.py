"""The demo: real review sentences and a small chat model, fetched once with the user's own pip."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
