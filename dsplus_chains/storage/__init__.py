"""What is kept on disk: bundles, files, and answers of chat models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
