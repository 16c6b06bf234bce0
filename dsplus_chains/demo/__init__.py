"""The demo. Its review sentences and its small chat model are fetched once, with the user's own pip."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
