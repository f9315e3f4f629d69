"""The tables of benchmarks.speed and benchmarks.gpu, and those of docs/speed.md.

The two benchmarks print their tables with the functions of this file. As a command it writes
the tables of docs/speed.md anew, from what benchmarks.speed has measured:

    python -m benchmarks.speed --json results/speed.json
    python -m benchmarks.tables

Command: python -m benchmarks.tables [--json FILE]
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

import vaejax as vj
from benchmarks.timing import Spread, Timed, growth, ratios, spread

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "results" / "speed.json"
PLACE = re.compile(r"(<!-- speed all -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where the tables stand."""
Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TablesFlags:
    """Where the measurement is."""

    json: Path = MEASURED
    """What benchmarks.speed has written."""


class Table(NamedTuple):
    """A table, whatever shows it."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float) -> str:
    """Three digits, never in powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cell(found: Spread, scale: float = 1.0) -> str:
    """A median, and the range in brackets."""
    middle, least, most = (number(value * scale) for value in found)
    return f"{middle} ({least} to {most})"


def failed(timed: Timed, columns: int) -> list[str]:
    """The cells of a loop that does not work here."""
    return [f"does not work here: {timed['failed']}", *[""] * (columns - 1)]


def start(timed: Timed) -> str:
    """How many seconds longer the first turn took than the others."""
    return f"{max(0.0, timed['first'] - spread(timed['seconds']).median):.1f}"


def result(timed: Timed) -> str:
    return "" if timed["result"] is None else f"{timed['result']:.1f}"


def head(found: Found) -> str:
    """What the measurement ran on."""
    about = found["about"]
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    device = "" if about["device"] == "cpu" else f"{about['device']}; "
    threads = f"; PyTorch on {about['torch_device']}" if "torch_device" in about else ""
    if about.get("torch_device") == "cpu":
        threads += f", {about['torch_threads']} threads"
    cores = f"{about['cores']} core" + "s" * (about["cores"] > 1)
    where = f"{device}{about['processor']}, {cores}; {versions}{threads}; commit {about['commit']}"
    return f"{where}; measured in {about['seconds'] / 60:.1f} minutes."


def step_table(part: Found) -> Table:
    """A row for each loop that trains a net."""
    headers = (
        "", "models", "ms a step, per model", "relative to one model of the lab",
        "GFLOP/s of matrix products", "start-up, s", "loss, nats",
    )  # fmt: skip
    rows, base = [], part["loops"][0]["seconds"]
    for timed in part["loops"]:
        named = [timed["name"], str(timed["models"])]
        if "failed" in timed:
            rows.append([*named, *failed(timed, 5)])
            continue
        each = [seconds / timed["models"] for seconds in timed["seconds"]]
        rate = spread([part["steps"] * part["flops"] / seconds / 1e9 for seconds in each])
        time = cell(spread(each), 1000 / part["steps"])
        relative = cell(ratios(each, base))
        rows.append([*named, time, relative, number(rate.median), start(timed), result(timed)])
    title = f"{part['net']}, {part['dataset']}, batches of {part['batch']}"
    return Table(f"{title}: {part['steps']} steps a turn", headers, rows)


def nets_table(parts: Sequence[Found]) -> Table:
    """The time of a step in each way to train, of all nets."""
    rows = []
    for loops in zip(*(part["loops"] for part in parts), strict=True):
        times = [
            "does not work here" if "failed" in timed
            else number(1000 * spread(timed["seconds"]).median / timed["models"] / part["steps"])
            for part, timed in zip(parts, loops, strict=True)
        ]  # fmt: skip
        rows.append([loops[0]["name"], str(loops[0]["models"]), *times])
    headers = ("", "models", *(f"{part['net']}, batches of {part['batch']}" for part in parts))
    return Table("Milliseconds a training step, per model", headers, rows)


def lanes_table(parts: Sequence[Found], goal: float) -> Table:
    """What a step of the most models at once costs beside a step of one, and whether that is at
    most `goal`."""
    rows, most = [], 0
    for part in parts:
        one, *_, many = [timed for timed in part["loops"] if timed["name"] == "lab"]
        most, found = many["models"], ratios(many["seconds"], one["seconds"])
        met = "yes" if found.median <= goal else "no"
        rows.append([f"{part['net']}, {part['dataset']}", cell(found), met])
    headers = ("", "relative to a step of one", f"at most {goal:g}")
    return Table(f"A step of {most} models side by side", headers, rows)


def evaluation_table(parts: Sequence[Found]) -> Table:
    """Images per second of each measurement."""
    rows = []
    for part in parts:
        base = part["loops"][0]["seconds"]
        for timed in part["loops"]:
            rates = spread([part["images"] / seconds for seconds in timed["seconds"]])
            relative = cell(ratios(timed["seconds"], base))
            named = [f"{part['title']}, {part['images']:,} images", timed["name"]]
            rows.append([*named, cell(rates), relative, start(timed), result(timed)])
    headers = ("", "by", "images per s", "time relative to the lab", "start-up, s", "nats")
    return Table(f"Evaluation of {parts[0]['net']}", headers, rows)


def growth_table(part: Found) -> Table:
    """The time of each size, and the exponent as the title says."""
    spreads = [spread(timed["seconds"]) for timed in part["loops"]]
    fitted = growth(part["sizes"], [found.median for found in spreads])
    title = f"{part['title']}: time ~ size^{fitted.exponent:.2f} from {fitted.least:,} on"
    title += f" (R^2 {fitted.r2:.3f})"
    sized = zip(part["sizes"], spreads, strict=True)
    rows = [[f"{size:,}", cell(found, 1000)] for size, found in sized]
    return Table(title, ("size", "ms"), rows)


def exponents_table(parts: Sequence[Found]) -> Table:
    """A row for each growth: the ends of the range and the exponent over its upper half."""
    rows = []
    for part in parts:
        middle = [spread(timed["seconds"]).median for timed in part["loops"]]
        fitted, sizes = growth(part["sizes"], middle), part["sizes"]
        ends = [f"{number(1000 * middle[end])} ms at {sizes[end]:,}" for end in (0, -1)]
        fit = [f"{fitted.exponent:.2f}", f"{fitted.r2:.3f}", f"{fitted.least:,}"]
        rows.append([part["title"], *ends, *fit])
    headers = ("size", "smallest", "largest", "exponent p", "R^2", "fitted from size")
    return Table("Growth of the lab's time", headers, rows)


def study_table(part: Found) -> Table:
    """The time of all models of a study."""
    base, rows = part["loops"][0], []
    for timed in part["loops"]:
        if "failed" in timed:
            rows.append([timed["name"], *failed(timed, 4)])
            continue
        seconds = timed["first"] + sum(timed["seconds"])
        ratio = seconds / (base["first"] + sum(base["seconds"]))
        rows.append([
            timed["name"], f"{seconds:.1f} s", f"{ratio:.2f}",
            cell(ratios(timed["seconds"], base["seconds"])), f"{timed['result']:.1f}",
        ])  # fmt: skip
    title = f"{part['models']} models {part['net']}, {part['steps']:,} steps each"
    title += f" ({part['epochs']} epochs of {part['images']:,} images), with compiling"
    headers = ("", f"time of all {part['models']}", "relative to the lab",
               "in a turn after the first", "objective at the end")  # fmt: skip
    return Table(title, headers, rows)


def training_table(parts: Sequence[Found]) -> Table:
    """What benchmarks.gpu trains to the end."""
    headers = ("data", "net", "models", "epochs", "time, with compiling", "negative ELBO, nats")
    rows = [
        [part["dataset"], part["net"], str(part["models"]), str(part["epochs"]),
         f"{part['seconds']:.1f} s", f"{part['neg_elbo']:.1f}"]
        for part in parts
    ]  # fmt: skip
    return Table("Training and evaluation of a study", headers, rows)


def tables(found: Found) -> Iterator[Table]:
    """All tables of a measurement, of the parts that there are."""
    yield from map(step_table, found.get("steps", []))
    if "goal" in found:
        yield lanes_table(found["steps"], found["goal"])
    if "evaluation" in found:
        yield evaluation_table(found["evaluation"])
    if "growth" in found:
        yield exponents_table(found["growth"])
        yield from map(growth_table, found["growth"])
    if "study" in found:
        yield study_table(found["study"])
    if "training" in found:
        yield training_table(found["training"])


def show(found: Found) -> None:
    """Print all tables."""
    console = Console()
    console.print(head(found), highlight=False)
    for table in tables(found):
        rich = RichTable(*table.headers, title=table.title)
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich)


def markdown(table: Table) -> str:
    """A table as Markdown, without its title."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", r"\|") for text in cells) + " |\n"

    rows = "".join(map(line, table.rows))
    return line(table.headers) + "|---" * len(table.headers) + "|\n" + rows


def documents(found: Found) -> dict[Path, str]:
    """The document with the tables that a reader needs, as it should be."""
    path = ROOT / "docs" / "speed.md"
    shown = (
        study_table(found["study"]), nets_table(found["steps"]),
        evaluation_table(found["evaluation"]), exponents_table(found["growth"]),
    )  # fmt: skip
    text = "\n".join(f"**{table.title}**\n\n{markdown(table)}" for table in shown)
    text = f"{head(found)}\n\n{text}"
    return {path: PLACE.sub(lambda at: at[1] + text + at[2], path.read_text())}


def read(path: Path) -> Found:
    """What benchmarks.speed has written.

    Raises:
        LabError: there is no such file, or it is none of benchmarks.speed with all parts.
    """
    advice = f"measure first: python -m benchmarks.speed --json {path}"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise vj.LabError(f"{path} is missing; {advice}") from None
    except ValueError as error:
        raise vj.LabError(f"{path} is no JSON ({error}); {advice}") from None
    missing = [part for part in ("about", "steps", "evaluation", "growth", "study")
               if part not in found]  # fmt: skip
    if missing:
        raise vj.LabError(f"{path} lacks {', '.join(missing)}; {advice}")
    return found


def main() -> None:
    with vj.study.failing_clearly():
        found = read(vj.study.parse(TablesFlags, __doc__).json)
        for path, text in documents(found).items():
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
