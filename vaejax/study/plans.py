"""How long each run of a study trains."""

import math
from typing import Any, NamedTuple

from vaejax import train
from vaejax.config import Config
from vaejax.study.flags import Flags

BLOCK = 1000
"""About how many steps a run that trains until it has converged takes before it checks again; a
block is a whole number of epochs."""


class Plan(NamedTuple):
    """How long a run trains."""

    epochs: int
    steps_per_epoch: int
    every: int
    """Epochs between checkpoints."""
    epochs_per_call: int
    """Epochs of one call of the compiled program."""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def plan(
    flags: Flags, config: Config, images: int, until_converged: bool, epochs: int | None = None
) -> Plan:
    """How long to train a run on so many images: for so many epochs, or else as the flags say. A
    run that trains until it has converged does so in blocks of about `BLOCK` steps, with a
    checkpoint after each; the last may be shorter."""
    steps = train.steps_per_epoch(config, images)
    epochs = epochs or flags.run_epochs(steps)
    if until_converged:
        block = min(epochs, max(1, BLOCK // steps))
        every = math.ceil((flags.checkpoint_every or 1) / block) * block
        return Plan(epochs, steps, every, block)
    return Plan(epochs, steps, flags.checkpoint_every or max(1, epochs // 10), 1)


def plans_of(study: Any, lab: Any) -> dict[str, Plan]:
    """The plan of each run of a study, by its name."""
    until_converged = study.converged is not None
    return {
        name: plan(
            lab.flags,
            run.config,
            len(lab.images(run.images.train)),
            until_converged,
            lab.epochs.get(name),
        )
        for name, run in lab.runs.items()
    }
