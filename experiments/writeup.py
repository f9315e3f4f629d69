"""The whole write-up in one command: the studies of the claims C1 to C13, on MNIST and on CIFAR-10.

C1, C2, C3 and C5 are about MNIST (`autoencoder`, `latent_size`), C6 to C13 about CIFAR-10
(`recon_scale`, `collapse`, `blur`, `few_images`, `two_images`). C4 is a formula, which the tests
check. Each study is what its own command runs with --seeds 0 1, and its results are in
OUT/mnist/STUDY or OUT/cifar10/STUDY. A run that two studies have in common is trained once: the
VAEs of `latent_size` are among those of `autoencoder`. Two seeds may decide what three leave
undecided: --seeds 0 1 2 asks for as many as docs/results.md has.

A study in which something goes wrong does not stop the others. An interrupted command goes on with
--resume: what was trained and measured is kept.

In the end a table shows the answer to each claim and what each study cost, and OUT/report.html has
everything on one page.

Command: python -m experiments.writeup

Cost: about 120 TFLOP of matrix products, of which `recon_scale` takes over a third: 10 minutes on
2 cores that multiply matrices at 200 GFLOP/s together, 27 at 75, as computed from this number.
With --quick a minute and a half, or 1 once programs are compiled.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

import vaejax as vj
from experiments import (
    autoencoder,
    blur,
    collapse,
    few_images,
    latent_size,
    recon_scale,
    report,
    two_images,
)

STUDIES = tuple(
    page.STUDY
    for page in (autoencoder, latent_size, recon_scale, collapse, blur, few_images, two_images)
)
"""A study comes after those whose runs it takes over."""


@dataclass(frozen=True, kw_only=True)
class WriteupFlags:
    """How much of it, and where."""

    seeds: tuple[int, ...] = (0, 1)
    """A model per seed."""
    quick: bool = False
    """A look: few steps, few images, few latent sizes. Its verdicts do not count."""
    out: Path | None = None
    """Results go to OUT/DATASET/STUDY. None: OUT is checkpoints/writeup, or with --quick
    checkpoints/writeup-quick."""
    resume: bool = False
    """Go on in a folder that holds results: finished runs are kept, interrupted ones continued."""

    def __post_init__(self) -> None:
        vj.study.each_once("--seeds", self.seeds)

    @property
    def folder(self) -> Path:
        """The folder of all data sets."""
        usual = Path("checkpoints") / ("writeup-quick" if self.quick else "writeup")
        return vj.files.own_path(self.out or usual)


class Ended(NamedTuple):
    """What became of a study."""

    study: str
    dataset: str
    folder: Path
    problems: list[str]


def plan(flags: WriteupFlags) -> list[tuple[Any, Any]]:
    """All studies, with their images and their runs."""
    found: list[tuple[Any, Any]] = []
    for study in STUDIES:
        own = (
            vj.study.command.quick_flags(study.flags, study.quick) if flags.quick else study.flags()
        )
        own = replace(
            own, quick=flags.quick, resume=flags.resume, out=flags.folder / own.source.name,
            seeds=flags.seeds,
        )  # fmt: skip
        lab = vj.study.runner.planned(study, own)
        lab.other_studies = [other.folder for _, other in found]
        vj.study.recording.prepare(study, lab)
        found.append((study, lab))
    return found


def conduct(studies: list[tuple[Any, Any]]) -> list[Ended]:
    """Run one study after the other. The list is empty in the end: each study leaves it, and its
    images and their moments go."""
    ended: list[Ended] = []
    total = len(studies)
    while studies:
        study, lab = studies.pop(0)
        number = f"study {len(ended) + 1} of {total}"
        print(f"{number}, {study.name} on {lab.dataset}", file=sys.stderr)
        problems: list[str] = []
        with vj.study.runner.reporting(problems), vj.study.lock.held(lab.folder):
            problems += vj.study.runner.conduct(study, lab, time.monotonic())
        ended.append(Ended(study.name, lab.dataset, lab.folder, problems))
    return ended


def table(flags: WriteupFlags, ended: list[Ended]) -> Table:
    """Claims and what they cost, over all runs of the command, a line for each study."""
    shown = Table("study", "images", "claims", "minutes", title="Claims of the write-up")
    for study, dataset, folder, problems in ended:
        found = vj.store.findings.read_study(folder, flags.folder)
        answers = [f"{claim} {answer['verdict']}" for claim, answer in found.verdicts.items()]
        answers = ["no answers after --quick"] if flags.quick and answers else answers
        answers += ["failed, see below"] if problems else []
        seconds = sum(ran["seconds"] for ran in found.about.get("invocations", ()))
        shown.add_row(study, dataset, "\n".join(answers), f"{seconds / 60:.1f}")
    return shown


def writeup(flags: WriteupFlags) -> None:
    """Run every study; then show the answers, and write the report."""
    vj.study.environment.prepare()
    with vj.study.lock.held(flags.folder):
        ended = conduct(plan(flags))
        problems = [f"{one.study}: {problem}" for one in ended for problem in one.problems]
        with vj.study.runner.reporting(problems):
            vj.study.terminal.console().print(table(flags, ended))
            report.report(report.ReportFlags(folder=flags.folder))
    if problems:
        raise vj.LabError("\n".join(problems))


def main() -> None:
    with vj.study.failing_clearly():
        writeup(vj.study.parse(WriteupFlags, __doc__))


if __name__ == "__main__":
    main()
