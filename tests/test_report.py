"""study.terminal: a table of rows, and the verdicts."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vaejax.store.records import Row
from vaejax.study import terminal
from vaejax.study.claims import Verdict

ROWS = [
    {"run": run, "scale": scale, "seed": seed, "mse": mse + seed, "collapse": word, "gap": gap}
    for run, scale, mse, words, gap in (
        ("deep", 6000.0, 2, ("partial", "healthy"), 1.0),
        ("deep", 1.0, 4, ("total", "total"), None),
        ("flat", 1.0, 8, ("partial", "partial"), 3.0),
    )
    for seed, word in enumerate(words)
]
COLUMNS = ["mse", "collapse", "gap"]


class Printed(NamedTuple):
    """A table as it stands in the terminal."""

    headings: list[str]
    """The last word of each."""
    lines: list[str]
    """The rows, without the room between cells."""


def tables(text: str, lines: int) -> list[Printed]:
    """The tables of so many lines each in a text."""
    printed = [" ".join(line.split()) for line in text.splitlines()]
    rules = [index for index, line in enumerate(printed) if line and set(line) == {"─"}]
    return [
        Printed(printed[rule - 1].split(), printed[rule + 1 : rule + 1 + lines]) for rule in rules
    ]


def shown(
    capsys: pytest.CaptureFixture[str], lines: int, by: tuple[str, ...], rows: list[Row] = ROWS
) -> list[Printed]:
    columns = [name for name in rows[0] if name not in ("run", "scale", "seed")]
    terminal.show_table(terminal.console(), "the title", rows, columns, by)
    text = capsys.readouterr().out
    assert " ".join(text.split()).startswith("the title: mean over seeds ± half their range ")
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= terminal.WIDTH
    return tables(text, lines)


def test_a_table_has_a_line_for_each_pair_of_what_it_is_grouped_by(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Means and half the range over seeds; words as words, each once."""
    (found,) = shown(capsys, 3, ("run", "scale"))
    assert found.headings == ["run", "scale", "mse", "collapse", "gap"]
    assert found.lines == [
        "deep 6000 2.50 ± 0.50 healthy, partial 1",
        "deep 1 4.50 ± 0.50 total -",
        "flat 1 8.50 ± 0.50 partial 3",
    ]


def test_a_table_grouped_by_one_field_averages_over_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (found,) = shown(capsys, 2, ("scale",))
    assert found.lines == ["6000 2.50 ± 0.50 healthy, partial 1", "1 6.5 ± 2.5 partial, total -"]


def test_columns_without_room_are_in_a_further_table_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says of a terminal that is none."""
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"figure_{index}" for index in range(16)]
    rows = [{"run": "z2"} | dict.fromkeys(names, 98.0 + seed) | {"seed": seed} for seed in (0, 1)]
    found = shown(capsys, 1, ("run",), rows)
    assert [len(table.headings) for table in found] == [7, 7, 5]
    shown_in = [heading for table in found for heading in table.headings if heading != "run"]
    assert shown_in == [str(index) for index in range(16)]
    for table in found:
        assert table.lines == ["z2" + " 98.50 ± 0.50" * (len(table.headings) - 1)]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([97.0, 97.5], "97.25 ± 0.25"),
        ([97.0, 97.024, 97.012], "97.01 ± 0.01"),  # a mean of four digits
        ([90.0, 110.0], "100 ± 10"),
        ([1000.0, 4000.0], "2500 ± 1500"),
        ([0.0724, 0.073], "0.0727 ± 0.0003"),  # of four decimals
        ([0.0004, 0.0002], "0.0003 ± 0.0001"),
        ([0.00002, 0.00016], "9.0e-05"),
        ([0.01234567, 0.01234567], "0.01235"),
        ([-1.0, 1.0], "0.0 ± 1.0"),
        ([3], "3"),
        ([True, True], "1"),
        ([1.0, math.nan], "-"),
        (["total", "partial", "total"], "partial, total"),
    ],
)
def test_half_the_range_has_two_digits_and_the_mean_as_many_decimals_where_there_is_room(
    seeds: list[Any], text: str
) -> None:
    assert terminal.cell(seeds) == text


@pytest.mark.parametrize(
    ("sigma", "beta", "shown"),
    [
        ([0.5, 0.1], [2.0, 1.0], ["effective_sigma"]),
        ([None, None], [2.0, 1.0], ["effective_beta"]),  # no Gaussian decoder, or a learned one
        ([0.5, None], [2.0, 1.0], ["effective_beta"]),
        ([None, None], [None, 1.0], []),
    ],
)
def test_the_noise_is_sigma_where_every_model_has_one_or_else_beta(sigma, beta, shown) -> None:
    rows = [
        {"effective_sigma": of_sigma, "effective_beta": of_beta}
        for of_sigma, of_beta in zip(sigma, beta, strict=True)
    ]
    assert terminal.noise_columns(rows) == shown


def test_a_verdict_is_shown_with_its_question_and_its_answer_and_not_after_quick(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = {
        "C0": Verdict("HELD", "Is all well?", "Yes: the mse is 1, below 2.", "the rule", {}),
        "C1": Verdict(
            "FAILED at 10 units, HELD at 128 units",
            "An [odd] question?",
            "With 10 units no: it is 2 in [-1, 1].\nWith 128 units yes: it is 1.",
            "a [rule]",
            {},
        ),
    }
    terminal.show_verdicts(terminal.console(), verdicts, ["C2, [odd]", "C3"], quick=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "C0  Is all well? HELD",
        "    Yes: the mse is 1, below 2.",
        "C1  An [odd] question? FAILED at 10 units, HELD at 128 units",
        "    With 10 units no: it is 2 in [-1, 1].",
        "    With 128 units yes: it is 1.",
        "C2, [odd]; C3: no answer, their models were not trained.",
    ]
    terminal.show_verdicts(terminal.console(), verdicts, [], quick=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "C0, C1: no answer after --quick, which trains too briefly."


def test_a_long_answer_is_folded_below_itself(capsys: pytest.CaptureFixture[str]) -> None:
    answer = "; ".join(f"the mse at {scale}: 1 < 2" for scale in range(20))
    verdicts = {"C0": Verdict("HELD", "Is all well?", answer, "", {})}
    terminal.show_verdicts(terminal.console(), verdicts, [], quick=False)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "C0  Is all well? HELD"
    assert len(lines) > 3
    assert all(line.startswith("    ") and len(line) <= terminal.WIDTH for line in lines)
    assert " ".join(" ".join(lines).split()) == answer


def test_the_seeds_are_named_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_seeds(terminal.console(), [{"seed": seed} for seed in (2, 0, 2, 1)])
    assert capsys.readouterr().out.startswith("Seeds 0, 1, 2. ")


def test_a_path_that_was_written_stands_on_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    paths = [tmp_path / f"{letter * 200}.png" for letter in "ab"]
    terminal.show_paths(terminal.console(), *paths)
    assert capsys.readouterr().out.splitlines() == [f"wrote {path}" for path in paths]


def test_what_to_do_next_is_a_command_for_the_folder_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path("checkpoints", "a" * 200)
    terminal.show_next_steps(folder, [folder / "first.png", folder / "second.png"])
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == str(folder / "first.png")
    assert all(line.startswith("python -m ") and line.endswith(f" {folder}") for line in lines[1:])
    terminal.show_next_steps(folder, [])
    assert "Open" not in capsys.readouterr().out
