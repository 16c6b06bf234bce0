"""How a Runnable runs, with one flow and two drivers for it. Arms, streams and token counts are here too."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
