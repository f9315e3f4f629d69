"""Runs that two studies share: one study trains them, and the other takes over what it trained."""

from typing import Any

from rich.console import Console

from vaejax.run import Run
from vaejax.store import checkpoint
from vaejax.study.laboratory import Lab
from vaejax.study.training import Plan


def take_over(lab: Lab[Any], run: Run, plan: Plan, console: Console) -> None:
    """Copy the newest checkpoint of a run in `lab.siblings` that is the same but for its name and
    its labels, and trained for as long. A run that has a checkpoint of its own keeps it."""
    if checkpoint.latest(lab.folder / run.name) is not None:
        return
    for folder in (path.parent for place in lab.siblings for path in place.glob("*/config.json")):
        trained = checkpoint.latest(folder) == plan.steps
        if trained and checkpoint.is_twin(folder, run):
            twin = checkpoint.restore(folder, run.config.nets)
            checkpoint.save(lab.folder / run.name, twin.state, twin.trace, plan.steps)
            same = f"{run.name} is {folder.name} of {folder.parent.name}, which is trained already"
            console.print(same, soft_wrap=True)
            return
