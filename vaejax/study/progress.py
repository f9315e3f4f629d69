"""How far the training of a study is: bars on a terminal, and elsewhere a line now and then."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console, RenderableType
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
from vaejax.study.plans import Plan, work

EVERY = 30.0
"""Seconds between two lines where stderr is no terminal, such as in a batch job."""
LITTLE_KL = 0.01
"""Nats; a latent unit with more counts as used."""
MANY_LANES = 4
"""Of more lanes than this the range is shown."""


@dataclass
class OverallProgress:
    """How far several studies are together, by the work of their training (`plans.work`)."""

    total: float
    """The work of all studies."""
    finished_work: float = 0.0
    """The work of the studies that are over."""
    trained: float = 0.0
    """How much of that was trained now: not before --resume, nor by another study."""
    title: str = ""
    """Which study runs."""
    began: float = field(default_factory=time.monotonic)

    def text(self, tasks: Sequence[Task]) -> str:
        """The study, the share of the work that is done, and the time that is left if the rest goes
        as fast. `tasks` are the runs of the study that runs."""
        done = self.finished_work + sum(task.completed * task.fields["work"] for task in tasks)
        trained = self.trained + _trained(tasks)
        text = f"{self.title}, {done / self.total:.0%} of all training done"
        if not trained:
            return text
        seconds = (time.monotonic() - self.began) * (self.total - done) / trained
        left = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
        return f"{text}, about {left} left"

    def finish_study(self, work: float, tasks: Sequence[Task]) -> None:
        """The study of so much work and of these runs is over."""
        self.finished_work += work
        self.trained += _trained(tasks)


def _trained(tasks: Sequence[Task]) -> float:
    """The work that was trained since the tasks were added."""
    return sum((task.completed - task.fields["first"]) * task.fields["work"] for task in tasks)


class Rate(ProgressColumn):
    """Training steps per second, of all lanes together as one step."""

    def render(self, task: Task) -> Text:
        return Text(rate(task))


def rate(task: Task) -> str:
    """ "123 steps/s"; nothing before the first epochs are over."""
    speed = task.finished_speed or task.speed
    return f"{speed * task.fields['steps_per_epoch']:.0f} steps/s" if speed else ""


class Bars(Progress):
    """On a terminal a bar for each run, below a line on all studies if there are several. Elsewhere
    a line on the newest run, at most every `EVERY` seconds."""

    def __init__(self, console: Console, overall: OverallProgress | None = None) -> None:
        self.overall = overall
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

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.overall is not None:
            yield Text(self.overall.text(self.tasks))
        yield from super().get_renderables()

    def add_run(self, run: Run, plan: Plan, epoch: int) -> TaskID:
        """A run that has been trained for so many epochs."""
        return self.add_task(
            run.name,
            total=plan.epochs,
            completed=epoch,
            first=epoch,
            steps_per_epoch=plan.steps_per_epoch,
            work=work(run, plan) / plan.epochs,
            terms="",
        )

    def show(self, run: TaskID, epoch: int, trace: train.Trace) -> None:
        """A run has come to an epoch; `trace` has the newest steps."""
        self.update(run, completed=epoch, terms=terms(trace))
        if not self.console.is_terminal and time.monotonic() - self.printed > EVERY:
            self.printed = time.monotonic()
            overall = f"{self.overall.text(self.tasks)}; " if self.overall is not None else ""
            self.console.print(overall + line(self.tasks[-1]), soft_wrap=True)


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
