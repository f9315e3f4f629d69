"""Write the tables and answers of docs/ from the rows in results/.

    python docs/results.py                        # write the pages
    python docs/results.py --collect checkpoints  # first copy the rows of studies that have run

results/DATASET/STUDY holds results.jsonl, with a row for each trained model, and study.json, which
says with which command, when and in how much time they were measured. Nothing else is needed: the
verdicts are judged anew from the rows.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import vaejax as vj
from experiments import published
from vaejax.study.claims import in_short

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
DATASETS = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10 (JPEG copy)",
    "patches": "patches",
    "digits": "digits",
}
"""The data sets in the order of the tables, and what readers call them."""
STUDIES = (
    "autoencoder", "latent_size", "blur", "few_images", "two_images", "collapse", "recon_scale",
    "linear_vae", "phase_diagram", "many_units", "dead_or_slow", "remedies", "gaps",
)  # fmt: skip
TABLE = re.compile(r"(<!-- claims -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where docs/claims.md has the answers to all claims."""
ANSWER = re.compile(r"(<!-- answers: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where the story has the answers to a claim."""
PUBLISHED = re.compile(r"(<!-- published -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where docs/beside_others.md has published numbers, measured again."""
COLUMNS = re.compile(r"(<!-- columns: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where docs/reference/results.md has the columns of a section."""
PICTURES = {
    "mnist/autoencoder": ("samples", "distances", "nearest"),
    "mnist/latent_size": ("curves",),
    "cifar10/blur": ("reconstructions",),
    "cifar10/few_images": ("few_images",),
    "cifar10/two_images": ("two_images",),
    "cifar10/collapse": ("strip", "codes", "depth", "terms"),
    "cifar10/recon_scale": ("reconstructions",),
    "mnist/phase_diagram": ("phase_diagram",),
    "mnist/dead_or_slow": ("rates", "loop"),
    "mnist/remedies": ("remedies",),
    "mnist/many_units": ("directions",),
    "mnist/gaps": ("gaps",),
}
"""The figures that docs/story.md shows."""


@dataclass(frozen=True, kw_only=True)
class ResultsFlags:
    collect: tuple[Path, ...] = ()
    """Folders of studies that have run: their rows are copied to results/ first."""


@dataclass(frozen=True)
class Found:
    """A study that has run on a data set."""

    dataset: str
    study: str
    rows: list[vj.store.Row]
    invocations: list[dict[str, Any]]

    @property
    def page(self) -> vj.study.Study:
        return importlib.import_module(f"experiments.{self.study}").STUDY

    @cached_property  # several pages show them
    def verdicts(self) -> dict[str, vj.study.Verdict]:
        found = {claim.name: claim.judge(self.rows) for claim in self.page.claims}
        return {claim: verdict for claim, verdict in found.items() if verdict is not None}


def collect(folder: Path) -> None:
    """Copy the rows of every study in a folder, and what study.json says of it."""
    for path in sorted(folder.rglob(vj.study.recording.RESULTS)):
        first = vj.store.records.read(path)[0]
        if "source" in first:
            target = RESULTS / "published" / path.parent.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            continue
        target = RESULTS / first["dataset"] / first["study"]
        target.mkdir(parents=True, exist_ok=True)
        for name in (path.name, vj.store.findings.ABOUT):
            shutil.copy(path.with_name(name), target)
        for name in PICTURES.get(f"{first['dataset']}/{first['study']}", ()):
            copy = f"{first['dataset']}_{first['study']}_{name}.png"
            shutil.copy(path.with_name(f"{name}.png"), ROOT / "docs" / "figures" / copy)


def studies(folder: Path = RESULTS) -> list[Found]:
    """All studies in results/, by data set and then in the order of the claims."""
    return [
        Found(
            dataset,
            study,
            vj.store.findings.current_rows(folder / dataset / study),
            vj.store.findings.read_about(folder / dataset / study).get("invocations", []),
        )
        for dataset in DATASETS
        for study in STUDIES
        if (folder / dataset / study).exists()
    ]


def claims_table(found: list[Found]) -> str:
    """A line for each claim: its question, the study, and the answer for each data set."""
    answers: dict[str, dict[str, str]] = {}
    about: dict[str, tuple[str, str]] = {}
    for one in found:
        for claim, verdict in one.verdicts.items():
            answers.setdefault(claim, {})[one.dataset] = in_short(verdict.verdict)
            about.setdefault(claim, (verdict.question, one.study))
    lines = [
        "| | question | " + " | ".join(DATASETS.values()) + " | study |",
        "|---" * (3 + len(DATASETS)) + "|",
    ]
    for claim in sorted(about, key=vj.store.findings.natural):
        question, study = about[claim]
        cells = [answers[claim].get(dataset, "") for dataset in DATASETS]
        lines.append(f"| {claim} | {escape(question)} | {' | '.join(cells)} | `{study}` |")
    return "\n".join(lines) + "\n"


def answers(found: list[Found], claim: str) -> str:
    """The name of a claim, and its answer on each data set, which links to what decided."""
    cells = [
        f"[{DATASETS[one.dataset]}](results.md#{anchor(title(one))}): "
        f"**{in_short(verdict.verdict).lower()}**"
        for one in found
        if (verdict := one.verdicts.get(claim))
    ]
    return f"{claim}: {' · '.join(cells)}\n"


def published_table(folder: Path) -> str:
    """A line for each published number, over all seeds and drawings that were measured."""
    lines = [
        "| source | after steps | images | | published | here | models | what differs |",
        "|---" * 8 + "|",
    ]
    measured = [
        row for path in sorted(folder.rglob("*.jsonl")) for row in vj.store.records.read(path)
    ]
    for source, setting in published.SETTINGS.items():
        of_source = vj.study.matching(measured, source=source)
        differs = setting.differs  # said once
        for one in published.compare(of_source):
            if one.published:
                cells = " | ".join([*one, differs])
                lines.append(f"| {escape(setting.work)} | {cells} |")
                differs = ""
    return "\n".join(lines) + "\n"


def title(one: Found) -> str:
    return f"{one.study} on {DATASETS[one.dataset]}"


def anchor(heading: str) -> str:
    """A heading as links name it."""
    return re.sub(r"[^\w\s-]", "", heading).lower().replace(" ", "-")


def columns(found: list[Found], section: str) -> str:
    """The columns of a section of `columns.toml`, and the studies whose rows have them. Those of
    the first section are in the rows of every study."""
    every = section == next(iter(vj.report.columns.SECTIONS))
    lines = ["| column | unit | meaning |", "|---|---|---|"]
    if not every:
        lines = ["| column | unit | meaning | studies |", "|---|---|---|---|"]
    for name, (unit, meaning) in vj.report.columns.SECTIONS[section].items():
        studies = [
            s for s in STUDIES if any(s == one.study and name in one.rows[0] for one in found)
        ]
        cells = [f"`{name}`", unit, re.sub(r"\w+_\w+", r"`\g<0>`", meaning)]
        cells += [] if every else [", ".join(f"`{study}`" for study in studies)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(found: list[Found]) -> str:
    """docs/results.md."""
    parts = [(ROOT / "docs" / "results_head.md").read_text()]
    for dataset, of_dataset in groupby(found, key=lambda one: one.dataset):
        parts.append(f"## {DATASETS[dataset]}\n")
        parts += [section(one) for one in of_dataset]
    return "\n".join(parts)


def section(one: Found) -> str:
    """A study on a data set: its question, cost, answers and table."""
    question = vj.study.about.question(one.page)
    columns = [*vj.study.terminal.noise_columns(one.rows), *one.page.columns]
    shown = one.page.shown(one.rows)
    lines = [f"### {title(one)}\n", f"{question}\n", *costs(one)]
    lines += ["", "| question | answer | verdict |", "|---|---|---|"]
    for claim, verdict in one.verdicts.items():
        answer = "<br>".join(escape(line) for line in verdict.answer.splitlines())
        question = f"**{claim}** {escape(verdict.question)}"
        lines.append(f"| {question} | {answer} | {verdict.verdict} |")
    lines += ["", *table(shown, columns, one.page.by), ""]
    return "\n".join(lines)


def costs(one: Found) -> Iterator[str]:
    """With which command, when, from which commit and on what the rows were measured."""
    commits = ", ".join(dict.fromkeys(str(row["commit"]) for row in one.rows))
    device, versions = one.rows[0]["device"], one.rows[0]["versions"]
    for ran in one.invocations:
        day = datetime.fromisoformat(ran["date"]).date()
        yield f"    {ran['command']}    # {day}, {minutes(ran['seconds'])}"
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"\nCommit {commits}; {device}; {named}. Mean over seeds ± half their range."


def minutes(seconds: float | None) -> str:
    if seconds is None:
        return "time not recorded"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def table(rows: list[vj.store.Row], columns: list[str], by: Sequence[str]) -> Iterator[str]:
    yield "| " + " | ".join(map(vj.study.words.of_column, (*by, *columns))) + " |"
    yield "|---" * (len(by) + len(columns)) + "|"
    for line in vj.study.terminal.lines(rows, columns, by):
        yield "| " + " | ".join(line) + " |"


def escape(text: str) -> str:
    """Text as a cell of a table."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def documents(folder: Path = RESULTS) -> dict[Path, str]:
    """The documents with tables from results/, as they should be."""
    found = studies(folder)
    claims, story = ROOT / "docs" / "claims.md", ROOT / "docs" / "story.md"
    reference = ROOT / "docs" / "reference" / "results.md"
    others = ROOT / "docs" / "beside_others.md"

    def filled(match: re.Match[str]) -> str:
        return match[1] + claims_table(found) + match[2]

    def answered(match: re.Match[str]) -> str:
        return match[1] + answers(found, match[2]) + match[3]

    def measured(match: re.Match[str]) -> str:
        return match[1] + published_table(folder / "published") + match[2]

    def described(match: re.Match[str]) -> str:
        return match[1] + columns(found, match[2]) + match[3]

    return {
        ROOT / "docs" / "results.md": page(found),
        claims: TABLE.sub(filled, claims.read_text()),
        story: ANSWER.sub(answered, story.read_text()),
        reference: COLUMNS.sub(described, reference.read_text()),
        others: PUBLISHED.sub(measured, others.read_text()),
    }


def main() -> None:
    with vj.study.failing_clearly():
        for folder in vj.study.parse(ResultsFlags, __doc__).collect:
            collect(folder)
        for path, text in documents().items():
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
