"""When a run that trains until it has converged is over. A page names these functions before its
flags are parsed, so nothing heavy is loaded until they are called."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vaejax import measure
from vaejax import study as room
from vaejax.run import Run


def converged(
    lab: Any, run: Run, error: Float[np.ndarray, "lanes steps"]
) -> Bool[np.ndarray, "lanes"]:
    """Which lanes have converged: the error of all steps, as a root mean square in units of the
    distance between two images of the run, averaged over blocks of `plans.BLOCK` steps after the
    warm-up of the KL, has come to rest (`measure.at_rest`)."""
    variance = lab.pictures(lab.images(run.images.train)).var(0, ddof=1).mean()
    apart = math.sqrt(2 * variance) * run.config.pixel_width
    after_warmup = error[:, int(run.lanes[0]["kl_warmup"]) :]
    return measure.at_rest(after_warmup, apart, room.plans.BLOCK)


def at_end(
    lab: Any, run: Run, error: Float[np.ndarray, "lanes steps"]
) -> Bool[np.ndarray, "lanes"]:
    """Which lanes need no more training: those that have converged, unless their learning rate
    falls, which it does to the end. For `Study.converged`."""
    falls = np.array([lane["decay_steps"] > 0 for lane in run.lanes])
    return converged(lab, run, error) & ~falls
