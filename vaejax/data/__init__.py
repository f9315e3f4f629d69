"""Images and labels as NumPy arrays, from TFDS, from inside scikit-learn, or your own:
`load(name, split)`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
