"""A study, and its run from the command line to the exit status.

A study is one Python file, a page. It defines which models train (`runs`), what is measured on each
(`measure`), what that decides (`claims`) and how it looks (`figures`). `run_study` owns the order:
parse the flags, join the other processes, load the images, check that the runs match the folder,
train, record, judge, show the table and the verdicts, draw, end. What was measured is on disk
before anything is drawn.

Nothing heavy is loaded until the flags are parsed, so that `--help` is quick.
"""

import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from vaejax import show, store
from vaejax import study as room
from vaejax.errors import LabError, StoppedError
from vaejax.store import findings
from vaejax.store.records import Row
from vaejax.study.claims import Claim, explained
from vaejax.study.command import failing_clearly, parse_study
from vaejax.study.flags import Flags

NOT_JUDGED = "The claims were not judged: {}\nThe results are kept; --resume judges again."
NOT_DRAWN = "The figures were not drawn: {}\nThe results are; --resume draws again."


class Study(NamedTuple):
    """What a page says about its study. `lab` is a `vaejax.study.Lab`."""

    name: str
    """The name of the folder of the results."""
    about: str | None
    """The docstring of the page: it is the text of `--help`."""
    flags: type[Flags]
    """The shared flags, with those of this study."""
    runs: Callable[[Any], list[Any]]
    """`runs(lab)`: the models to train, a `vaejax.Run` for each Config."""
    measure: Callable[[Any, Any], Sequence[Row]]
    """`measure(lab, trained)`: a row for each lane of a trained run, whose state comes without that
    of the optimizer (`opt_state` is None)."""
    claims: Sequence[Claim]
    """What the rows decide."""
    figures: Callable[[Any, list[Row]], Mapping[str, Any]]
    """`figures(lab, rows)`: a matplotlib Figure for each name of a PNG file."""
    columns: Sequence[str]
    """The five or six figures that decide: the table shows them."""
    more_columns: Sequence[str] = ()
    """The other figures, which the table shows with `--all-columns`."""
    by: Sequence[str] = ("run",)
    """What the rows of one line of the table have in common; a line averages over the rest."""
    quick: Mapping[str, Any] = {}
    """What `--quick` changes in the flags of this study, beside `study.flags.QUICK`."""
    settings: Sequence[str] = ()
    """The names of flags that change what is measured, but not the training."""
    converged: Callable[[Any, Any, Any], Any] | None = None
    """`converged(lab, run, error)`: which lanes need no more training, bool [lanes], from the error
    [lanes, steps] of all steps. None: a run trains for all of its epochs."""
    initial_state: Callable[[Any, Any], Any] | None = None
    """`initial_state(lab, run)`: the state that a run starts from, or None for fresh weights."""
    shown: Callable[[list[Row]], list[Row]] = list
    """The rows as the table shows them."""

    @property
    def text(self) -> str:
        """The docstring of the page, and what its claims say and which rules decide them."""
        about = inspect.cleandoc(self.about or self.name)
        return "\n\n".join(filter(None, (about, explained(self.claims))))


def run_study(study: Study) -> None:
    """Run a study as its command line says, and end the process with status 1 if it fails."""
    started = time.monotonic()
    with failing_clearly():
        lab = open_lab(study)
        with room.lock.held(lab.folder):
            problems = conduct(study, lab, started)
        if problems:
            raise LabError("\n".join(problems))


def conduct(study: Study, lab: Any, started: float) -> list[str]:
    """Train, record, judge, show and draw. Returns what went wrong, if anything: a part that fails
    does not stop the parts that do without it.

    Args:
        started: when the study began, by `time.monotonic`.
    """
    wanted = room.recording.prepare(study, lab)
    command = room.about.command(study, lab.flags)
    problems: list[str] = []
    found = None
    try:
        with reporting(problems):
            found = room.recording.record(study, lab, wanted)
    finally:
        if found is None:  # the time that it took counts all the same
            with reporting(problems):
                room.about.write(lab.folder, study, [room.about.invocation(command, started)])
    if found is None:
        return problems
    if found.diverged:
        problems.append(
            "Training diverged (a number was not finite):\n  "
            + "\n  ".join(found.diverged)
            + "\nThe other models are recorded. Lower --learning-rate, or --recon-scale."
        )
    if found.rows:
        ran = [room.about.invocation(command, started)] if found.new else []
        conclude(study, lab, found, wanted, ran, problems)
    return problems


def conclude(
    study: Study,
    lab: Any,
    found: Any,
    wanted: Mapping[str, Row],
    ran: Sequence[Row],
    problems: list[str],
) -> None:
    """Judge, show and draw what was recorded; what goes wrong is added to `problems`."""
    verdicts: dict[str, Any] = {}
    unanswered: list[str] = []
    with reporting(problems, NOT_JUDGED):
        verdicts = judge(study, found)
        unanswered = [claim.name for claim in study.claims if claim.name not in verdicts]
    with reporting(problems):
        if found.new or wanted != findings.read_about(lab.folder).get("wanted"):
            room.about.remove_figures(lab.folder)  # those of other rows
        save_verdicts(lab, verdicts)
        room.about.write(lab.folder, study, ran, wanted)
    show_findings(study, lab, found.rows, verdicts, unanswered)
    with reporting(problems, NOT_DRAWN):
        draw(study, lab, found.rows)


@contextmanager
def reporting(problems: list[str], message: str = "{}") -> Iterator[None]:
    """Add a message on what fails within to the problems. A mistake in a page, which its author
    wants to see, has its traceback printed."""
    try:
        yield
    except (BrokenPipeError, StoppedError):  # no part of the study has failed
        raise
    except Exception as error:
        if not isinstance(error, LabError):
            traceback.print_exc()
        problems.append(message.format(error))


def open_lab(study: Study) -> Any:
    """The `Lab` of a study, with its runs planned: flags from the command line, other processes
    joined, images loaded."""
    flags = parse_study(study.flags, study.text, study.quick)
    room.laboratory.join(flags)
    return planned(study, flags)


def planned(study: Study, flags: Flags) -> Any:
    """The `Lab` of a study with these flags, with its images loaded and its runs planned."""
    room.each_once("The names of CLAIMS are", [claim.name for claim in study.claims], least=0)
    lab = room.laboratory.load(flags, study.name)
    lab.runs |= {run.name: lab.with_images(run) for run in study.runs(lab)}
    return lab


def judge(study: Study, found: Any) -> dict[str, Any]:
    """The verdict on each claim that the rows speak of."""
    verdicts = {}
    for claim in study.claims:
        verdict = claim.judge(found.rows)
        if verdict is None and found.diverged and claim.rows(found.rows):
            why = "Undecided: models that it asks about diverged."
            verdict = room.Verdict("UNDECIDED", claim.asks(), why, claim.rule(), {})
        if verdict is not None:
            verdicts[claim.name] = verdict
    return verdicts


def save_verdicts(lab: Any, verdicts: Mapping[str, Any]) -> None:
    """Write verdict.json."""
    counts = not lab.flags.quick
    store.write_json(
        lab.folder / findings.VERDICTS,
        {claim: {**verdict._asdict(), "counts": counts} for claim, verdict in verdicts.items()},
    )


def show_findings(
    study: Study,
    lab: Any,
    rows: list[Row],
    verdicts: Mapping[str, Any],
    unanswered: Sequence[str],
) -> None:
    """Print the table, the verdicts, and where both are."""
    out = room.terminal.console()
    columns = [*room.terminal.noise_columns(rows), *study.columns]
    if lab.flags.all_columns:
        columns += study.more_columns
    room.terminal.show_table(out, str(lab.folder), study.shown(rows), columns, study.by)
    room.terminal.show_verdicts(out, verdicts, unanswered, lab.flags.quick)
    room.terminal.show_seeds(out, rows)
    files = (room.recording.RESULTS, findings.VERDICTS)
    room.terminal.show_paths(out, *(lab.folder / file for file in files))


def draw(study: Study, lab: Any, rows: list[Row]) -> None:
    """Draw and save the figures with a caption; show where they are, and what to do next."""
    room.environment.free_memory()  # pictures at full size come now
    caption = room.about.caption(room.about.command(study, lab.flags), rows)
    out, captions, paths = room.terminal.console(), {}, []
    for name, figure in study.figures(lab, rows).items():
        captions[name] = f"{figure.get_suptitle()}. {caption}"
        new = show.save(figure, lab.folder, name, lab.flags.format, caption)
        room.terminal.show_paths(out, *new)
        paths += new
    room.about.write(lab.folder, study, captions=captions)
    room.terminal.show_next_steps(lab.folder, paths)
