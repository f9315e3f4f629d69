"""The tables of what benchmarks.speed has measured.

As a command it writes those of docs/speed.md anew:

    python -m benchmarks.speed --json results/speed.json
    python -m benchmarks.tables

Command: python -m benchmarks.tables [--json FILE]
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import numpy as np

import vaejax as vj
from benchmarks.timing import Timed

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "results" / "speed.json"
DOCUMENT = ROOT / "docs" / "speed.md"
PLACE = re.compile(r"(<!-- speed all -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where the tables stand in it."""
Part = Literal["steps", "evaluation", "growth", "study"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What is measured, as in benchmarks.speed."""
Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TablesFlags:
    """Where the measurement is."""

    json: Path = MEASURED
    """What benchmarks.speed has written."""


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown. A row that is too short is filled up."""
    filled = [[*row, *[""] * (len(headers) - len(row))] for row in rows]
    lines = [headers, *([text.replace("|", r"\|") for text in row] for row in filled)]
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([f"**{title}**", "", head, "|---" * len(headers) + "|", *body, ""])


def number(value: float) -> str:
    """Three digits, never in powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cell(values: Sequence[float]) -> str:
    """The median, and the range in brackets."""
    middle, least, most = map(number, (median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Of the times of two loops, within each round."""
    return [value / other for value, other in zip(values, base, strict=True)]


def start(timed: Timed) -> str:
    """How many seconds longer the first turn took than the others."""
    return f"{max(0.0, timed['first'] - median(timed['seconds'])):.1f}"


def result(timed: Timed) -> str:
    return "" if timed["result"] is None else f"{timed['result']:.1f}"


def failed(timed: Timed) -> str:
    return f"does not work here: {timed['failed']}"


def head(about: Found) -> str:
    """What the measurement ran on."""
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    device = "" if about["device"] == "cpu" else f"{about['device']}; "
    threads = f"; PyTorch on {about['torch_device']}" if "torch_device" in about else ""
    if about.get("torch_device") == "cpu":
        threads += f", {about['torch_threads']} threads"
    cores = f"{about['cores']} core" + "s" * (about["cores"] > 1)
    where = f"{device}{about['processor']}, {cores}; {versions}{threads}; commit {about['commit']}"
    return f"{where}; measured in {about['seconds'] / 60:.1f} minutes.\n"


def step_table(part: Found) -> str:
    """A row for each loop that trains a net."""

    def row(timed: Timed) -> list[str]:
        named = [timed["name"], str(timed["models"])]
        if "failed" in timed:
            return [*named, failed(timed)]
        each = [seconds / timed["models"] for seconds in timed["seconds"]]
        relative = cell(ratios(each, part["loops"][0]["seconds"]))
        time = cell([1000 * seconds / part["steps"] for seconds in each])
        rate = number(part["steps"] * part["flops"] / median(each) / 1e9)
        return [*named, time, relative, rate, start(timed), result(timed)]

    headers = (
        "", "models", "ms a step, per model", "relative to one model of the lab",
        "GFLOP/s of matrix products", "start-up, s", "loss, nats",
    )  # fmt: skip
    title = f"{part['net']}, {part['dataset']}, batches of {part['batch']}"
    return table(f"{title}: {part['steps']} steps a turn", headers, [*map(row, part["loops"])])


def nets_table(parts: Sequence[Found]) -> str:
    """The time of a step in each way to train, of all nets."""
    rows = []
    for loops in zip(*(part["loops"] for part in parts), strict=True):
        times = [
            "does not work here" if "failed" in timed
            else number(1000 * median(timed["seconds"]) / timed["models"] / part["steps"])
            for part, timed in zip(parts, loops, strict=True)
        ]  # fmt: skip
        rows.append([loops[0]["name"], str(loops[0]["models"]), *times])
    headers = ("", "models", *(f"{part['net']}, batches of {part['batch']}" for part in parts))
    return table("Milliseconds a training step, per model", headers, rows)


def evaluation_table(parts: Sequence[Found]) -> str:
    """Images per second of each measurement."""
    rows = [
        [f"{part['title']}, {part['images']:,} images", timed["name"],
         cell([part["images"] / seconds for seconds in timed["seconds"]]),
         cell(ratios(timed["seconds"], part["loops"][0]["seconds"])), start(timed), result(timed)]
        for part in parts
        for timed in part["loops"]
    ]  # fmt: skip
    headers = ("", "by", "images per s", "time relative to the lab", "start-up, s", "nats")
    return table(f"Evaluation of {parts[0]['net']}", headers, rows)


def growth_tables(parts: Sequence[Found]) -> Iterator[str]:
    """How the time grows with each size, then the time of every size."""
    rows, details = [], []
    for part in parts:
        sizes, times = part["sizes"], [timed["seconds"] for timed in part["loops"]]
        middle = [median(seconds) for seconds in times]
        half = max(0, min(len(sizes) // 2, len(sizes) - 3))  # the fit needs three sizes
        x, y = np.log(sizes[half:]), np.log(middle[half:])
        exponent, r2 = np.polyfit(x, y, 1)[0], np.corrcoef(x, y)[0, 1] ** 2
        ends = [f"{number(1000 * middle[end])} ms at {sizes[end]:,}" for end in (0, -1)]
        rows.append([part["title"], *ends, f"{exponent:.2f}", f"{r2:.3f}", f"{sizes[half]:,}"])
        fit = f"time ~ size^{exponent:.2f} from {sizes[half]:,} on (R^2 {r2:.3f})"
        milliseconds = [cell([1000 * second for second in seconds]) for seconds in times]
        each = [[f"{size:,}", cells] for size, cells in zip(sizes, milliseconds, strict=True)]
        details.append(table(f"{part['title']}: {fit}", ("size", "ms"), each))
    headers = ("size", "smallest", "largest", "exponent p", "R^2", "fitted from size")
    return iter([table("Growth of the lab's time", headers, rows), *details])


def study_table(part: Found) -> str:
    """The time of all models of a study."""

    def row(timed: Timed) -> list[str]:
        if "failed" in timed:
            return [timed["name"], failed(timed)]
        whole, of_lab = (one["first"] + sum(one["seconds"]) for one in (timed, base))
        turn = cell(ratios(timed["seconds"], base["seconds"]))
        return [timed["name"], f"{whole:.1f} s", f"{whole / of_lab:.2f}", turn, result(timed)]

    base = part["loops"][0]
    title = f"{part['models']} models {part['net']}, {part['steps']:,} steps each"
    title += f" ({part['epochs']} epochs of {part['images']:,} images), with compiling"
    headers = ("", f"time of all {part['models']}", "relative to the lab",
               "in a turn after the first", "objective at the end")  # fmt: skip
    return table(title, headers, [*map(row, part["loops"])])


def document(found: Found) -> str:
    """What was measured on, and the tables of all parts that were measured, as Markdown."""
    parts = [head(found["about"]), *map(step_table, found.get("steps", []))]
    if "evaluation" in found:
        parts.append(evaluation_table(found["evaluation"]))
    if "growth" in found:
        parts += growth_tables(found["growth"])
    if "study" in found:
        parts.append(study_table(found["study"]))
    return "\n".join(parts)


def updated(path: Path) -> str:
    """docs/speed.md with the tables of a measurement.

    Raises:
        LabError: there is no measurement, or it lacks a part.
    """
    advice = f"measure first: python -m benchmarks.speed --json {path}"
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise vj.LabError(f"{path} cannot be read ({error}); {advice}") from None
    missing = [part for part in ("about", *PARTS) if part not in found]
    if missing:
        raise vj.LabError(f"{path} lacks {', '.join(missing)}; {advice}")
    shown = (
        head(found["about"]), study_table(found["study"]), nets_table(found["steps"]),
        evaluation_table(found["evaluation"]), next(growth_tables(found["growth"])),
    )  # fmt: skip
    return PLACE.sub(lambda at: at[1] + "\n".join(shown) + at[2], DOCUMENT.read_text())


def main() -> None:
    with vj.study.failing_clearly():
        DOCUMENT.write_text(updated(vj.study.parse(TablesFlags, __doc__).json))
        print(f"wrote {DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
