"""What the images alone say: principal components, thresholds of collapse, the best linear VAE."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
