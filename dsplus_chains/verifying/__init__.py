"""Verifiers, which check a small model's answer before it is kept, and the sandboxes that code runs in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
