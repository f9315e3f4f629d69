"""How far the training of a study is: bars on a terminal, and elsewhere a line now and then."""

import time

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vaejax import train
from vaejax.run import Run
from vaejax.study.plans import Plan

EVERY = 30.0
"""Seconds between two lines where stderr is no terminal, such as in a batch job."""
LITTLE_KL = 0.01
"""Nats; a latent unit with more counts as used."""
MANY_LANES = 4
"""Of more lanes than this the range is shown."""


class Rate(ProgressColumn):
    """Training steps per second, of all lanes together as one step."""

    def render(self, task: Task) -> Text:
        return Text(rate(task))


def rate(task: Task) -> str:
    """ "123 steps/s"; nothing before the first epochs are over."""
    speed = task.finished_speed or task.speed
    return f"{speed * task.fields['steps_per_epoch']:.0f} steps/s" if speed else ""


class Bars(Progress):
    """On a terminal a bar for each run. Elsewhere a line on the newest run, at most every `EVERY`
    seconds."""

    def __init__(self, console: Console) -> None:
        self.printed = time.monotonic()
        super().__init__(
            TextColumn("{task.description:>12}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def add_run(self, run: Run, plan: Plan, epoch: int) -> TaskID:
        """A run that has been trained for so many epochs."""
        return self.add_task(
            run.name,
            total=plan.epochs,
            completed=epoch,
            steps_per_epoch=plan.steps_per_epoch,
            terms="",
        )

    def show(self, run: TaskID, epoch: int, trace: train.Trace) -> None:
        """A run has come to an epoch; `trace` has the newest steps."""
        self.update(run, completed=epoch, terms=terms(trace))
        if not self.console.is_terminal and time.monotonic() - self.printed > EVERY:
            self.printed = time.monotonic()
            self.console.print(line(self.tasks[-1]), soft_wrap=True)


def line(task: Task) -> str:
    """What a bar shows, as text."""
    left = task.time_remaining
    parts = (
        f"{task.description}: epoch {task.completed:g} of {task.total:g}",
        rate(task),
        f"{left:.0f} s left" if left is not None and not task.finished else "",
        task.fields["terms"],
    )
    return ", ".join(part for part in parts if part)


def terms(trace: train.Trace) -> str:
    """The objective, the KL and the number of used latent units of each lane, averaged over the
    newest steps; of many lanes the range."""
    kl = np.asarray(trace.kl).mean(1)
    parts = [f"objective {_of_lanes(np.asarray(trace.objective).mean(1))}"]
    if kl.any():
        used = (kl > LITTLE_KL).sum(-1)
        parts += [f"KL {_of_lanes(kl.sum(-1))}", f"units above {LITTLE_KL} nats {_of_lanes(used)}"]
    return ", ".join(parts)


def _of_lanes(values: np.ndarray) -> str:
    if len(values) <= MANY_LANES:
        return " ".join(f"{value:.4g}" for value in values)
    least, most = f"{values.min():.4g}", f"{values.max():.4g}"
    return least if least == most else f"{least} to {most}"
