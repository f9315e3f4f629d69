"""One self-contained HTML file of what all studies in a folder found: the answers to all claims at
a glance; then, for each data set and study, claims with the numbers that decided, figures, tables,
settings, versions and cost.

Command: python -m experiments.report checkpoints

FOLDER is searched at any depth for results.jsonl. The files of the studies are all that is read: it
needs no data set, and shows a study of your own like any other. The page needs no network: open it,
send it, print it.

Cost: a few seconds. The file is a third larger than the figures in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro

import vaejax as vj

FILE = "report.html"
MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """What to report on."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("checkpoints")
    """The folder in which studies have run, or that of one study."""
    out: Path | None = None
    """The file to write, or a folder for it. None: report.html in FOLDER."""


def report(flags: ReportFlags) -> None:
    """Write the page, and say what is in it and how large it is."""
    folder = vj.files.own_path(flags.folder)
    findings = vj.store.findings.read_all(folder)
    written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    name = str(flags.folder) if flags.folder.name else flags.folder.resolve().name
    path = vj.files.own_path(flags.out or folder)
    if path.is_dir():
        path /= FILE
    vj.show.save_page(vj.report.report_page(name, findings, written), path)

    pictures = [png for finding in findings for png in finding.pictures.values()]
    out = vj.study.terminal.console()
    vj.study.terminal.show_paths(out, path)
    out.print(
        f"{path.stat().st_size / MEGABYTE:.1f} MB: studies {len(findings)}, figures "
        f"{len(pictures)} ({sum(map(len, pictures)) / MEGABYTE:.1f} MB as PNG)",
        soft_wrap=True,
    )


def main() -> None:
    with vj.study.failing_clearly():
        report(vj.study.parse(ReportFlags, __doc__))


if __name__ == "__main__":
    main()
