"""Texts as vectors. Only this package imports sentence-transformers and faiss."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
