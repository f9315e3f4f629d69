"""What every study shares: flags, the run of a study, verdicts, views of trained models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
