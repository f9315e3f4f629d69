"""Lanes and batches over all cores or devices: where lanes go, what they take, who writes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
