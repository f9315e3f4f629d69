"""The codes of a few images, as `show.clouds` draws them. No matplotlib: a study that trains
measures before it draws."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Cloud(NamedTuple):
    """What the posterior of a few images looks like in two latent units."""

    codes: Float[np.ndarray, "images draws 2"]
    """Drawn from the posterior of each image."""
    means: Float[np.ndarray, "images 2"]
    """The mean of each posterior."""
