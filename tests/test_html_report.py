"""The report: every claim, answer, figure and row of the studies in a folder is on one page, which
needs nothing else; a folder of any version is read, and a damaged file is named."""

import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import vaejax as vj
from tests import tiny
from tests.html import Html
from vaejax.report import columns, row_tables
from vaejax.report import page as report_page
from vaejax.report.html import Comparison, Part
from vaejax.store import findings

EVERY = pytest.mark.parametrize("study", tiny.STUDIES)


def png(width: int = 3, height: int = 2) -> bytes:
    """A white picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff" * width) * height)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def row(run: str = "z2", seed: int = 0, scale: float = 1.0, **figures: Any) -> vj.store.Row:
    """A row as a study of a user may record it."""
    return {
        "study": "mine",
        "dataset": "digits",
        "run": run,
        "lane": seed,
        "seed": seed,
        "recon_scale": scale,
        "effective_sigma": 1.5,
        "effective_beta": None,
        "config": {"model": "vae", "latent_size": int(run[1:]), "encoder_widths": [8, 4]},
        "versions": {"python": "3.11", "jax": "0.9"},
        "device": "cpu",
        "commit": "abc1234",
        "mse": 0.1,
        "kl_per_unit_nats": [0.25, 0.5],
        **figures,
    }


ROWS = [row(run, seed, mse=seed + int(run[1:])) for run in ("z2", "z10") for seed in (0, 1)]
NUMBERS = {"MSE, and half of it": {"low": [0.1, 0.2], "high": [0.3]}}
OLD_VERDICT = {"verdict": "HELD", "rule": "every seed is below half", "numbers": NUMBERS}
NEW_VERDICT = {
    **OLD_VERDICT,
    "claim": "Errors are small",
    "evidence": "10 units: 0.1 < 0.3.\n128 units: 0.2 < 0.3.",
    "counts": True,
}
RAN = {
    "command": "python -m mine --dataset digits",
    "date": "2026-11-26T20:00:00+00:00",
    "seconds": 512.3,
    "commit": "def5678",
    "device": "an accelerator",
    "versions": {"jax": "0.10"},
}
ABOUT = {
    "study": "mine",
    "question": "Are errors small?",
    "about": "Are errors small?\n\nRuns: two nets\nof some size.",
    "columns": ["mse"],
    "more_columns": ["half_power_cycles"],
    "by": ["run"],
    "figures": {"errors": "Errors of all models. python -m mine\nSeeds 0, 1."},
    "invocations": [RAN],
}


def make(
    folder: Path,
    rows: list[vj.store.Row] = ROWS,
    verdicts: Any = None,
    about: Any = None,
    pictures: tuple[str, ...] = ("errors",),
) -> Path:
    """The folder of a study, by hand."""
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    for name, content in (("verdict.json", verdicts), ("study.json", about)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    for name in pictures:
        (folder / f"{name}.png").write_bytes(png())
    return folder


def reported(folder: Path, out: Path) -> Html:
    """The page on a folder, with the whole command."""
    tiny.command("report", folder, "--out", out / "page.html")
    return Html((out / "page.html").read_text())


def tables(page: Html) -> list[tuple[list[str], list[list[str]]]]:
    return [
        page.table(index)
        for index in page.find("table")
        if index not in page.find("table", id="summary")
    ]


def every_model(page: Html) -> tuple[list[str], list[list[str]]]:
    """The table of all rows of the one study of a page."""
    (box,) = page.find("div", id="rows-study-1")
    (table,) = page.inside("table", box)
    return page.table(table)


# ---- studies that have trained ----


@EVERY
def test_every_claim_answer_figure_and_row_is_on_the_page(study, finished, tmp_path) -> None:
    folder = finished(study)
    page, text = (found := reported(folder, tmp_path)), found.text()
    verdicts = json.loads((folder / "verdict.json").read_text())
    assert verdicts or "No claim was judged" in text
    for claim, verdict in verdicts.items():
        for words in (claim, verdict.get("claim", ""), verdict["rule"]):
            assert " ".join(words.split()) in text
        for line in verdict.get("evidence", "").splitlines():
            assert line[1:] in text
        answers = [
            page.text(index)
            for index in page.find("span")
            if "answer" in page.elements[index][1]["class"]
        ]
        plain = [re.sub("[✓✗?] ", "", answer) for answer in answers]
        assert plain.count(verdict["verdict"]) >= 2  # among all claims, and in its place

    pictures = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    shown = [base64.b64decode(uri.split(",")[1]) for uri in page.attributes("img", "src")]
    assert sorted(shown) == sorted(pictures.values())
    assert all(page.attributes("img", "alt"))

    rows = tiny.rows_of(folder)
    names, lines = every_model(page)
    assert len(lines) == len(rows)
    for recorded, line in zip(rows, lines, strict=True):
        shown = dict(zip(names, line, strict=True))
        for name, value in recorded.items():
            if isinstance(value, list | dict):
                assert name not in shown
            elif isinstance(value, float):
                assert float(shown[name]) == pytest.approx(value, rel=1e-5)
            elif not isinstance(value, bool):
                assert shown[name] == ("\u2013" if value is None else str(value))


@EVERY
def test_the_columns_that_a_study_shows_are_explained(study) -> None:
    page = tiny.page(study).STUDY
    shown = [*page.by, *page.columns, *getattr(page, "more_columns", ()), *row_tables.IDENTITY]
    assert [name for name in shown if not columns.meaning(name)] == []


# ---- what the page says ----


def test_a_study_of_a_user_is_shown_like_any_other(tmp_path) -> None:
    make(tmp_path / "deep" / "down" / "mine", verdicts={"M1": NEW_VERDICT}, about=ABOUT)
    text = reported(tmp_path, tmp_path).text()
    for words in (
        "mine on digits",
        "Are errors small?",
        "4 trained models, seeds 0, 1; took 8 min 32 s. Folder: deep/down/mine",
        "Errors are small. ✓ HELD 10 units: 0.1 < 0.3. 128 units: 0.2 < 0.3.",
        "The rule: every seed is below half.",
        "MSE, and half of it 0.1, 0.2 0.3",
        "errors Errors of all models. python -m mine Seeds 0, 1.",
        "python -m mine --dataset digits 2026-11-26 20:00 UTC, 8 min 32 s. Device: an accelerator. "
        "Commit: def5678. jax 0.10",
        "Runs: two nets of some size.",
        "Lists are not shown; results.jsonl has them: kl_per_unit_nats.",
        "Columns that the study's own table has and its rows lack: half_power_cycles.",
        "results measured with python 3.11, jax 0.9",
    ):
        assert words in text


def test_a_folder_without_study_json_and_claims_is_shown_too(tmp_path) -> None:
    uncounted = {"C2": OLD_VERDICT, "C10": {**OLD_VERDICT, "verdict": "FAILED", "counts": False}}
    make(tmp_path / "digits" / "mine", verdicts=uncounted)
    page = reported(tmp_path, tmp_path)
    text = page.text()
    assert "The rule of the claim: every seed is below half." in text
    assert text.count("does not count: a --quick run trains too briefly") == 2  # of C10, twice
    assert "cost not recorded" in text
    assert "commit abc1234" in text
    names, lines = tables(page)[2]  # after the numbers of two claims
    assert names[:3] == ["run", "effective_sigma", "mse"]
    assert lines == [["z2", "1.5", "2.50 ± 0.50"], ["z10", "1.5", "10.50 ± 0.50"]]


def test_a_study_without_verdicts_and_pictures_says_so(tmp_path) -> None:
    make(tmp_path / "mine", about=ABOUT | {"invocations": []}, pictures=())
    text = reported(tmp_path, tmp_path).text()
    assert "No study has judged a claim yet." in text
    assert "No claim was judged" in text
    assert "No PNG in the folder of: errors." in text
    assert "cost not recorded" in text


def test_the_summary_has_a_line_for_each_claim_and_a_column_for_each_data_set(tmp_path) -> None:
    for dataset, verdict, claim in (
        ("mnist", "HELD at 10 units, UNDECIDED at 128 units", "C10"),
        ("digits", "FAILED", "C10"),
        ("digits", "HELD", "C2"),
    ):
        rows = [line | {"dataset": dataset} for line in ROWS]
        name = f"{dataset}-{claim}"
        make(tmp_path / name, rows, {claim: NEW_VERDICT | {"verdict": verdict}}, ABOUT)
    page = reported(tmp_path, tmp_path)
    (summary,) = page.find("table", id="summary")
    _, lines = page.table(summary)
    held, failed, undecided = "✓ HELD", "✗ FAILED", "? UNDECIDED"
    assert lines == [
        ["C2 mine", "Errors are small.", held, "\u2013"],
        ["C10 mine", "Errors are small.", failed, f"{held} at 10 units, {undecided} at 128 units"],
    ]
    links = [page.elements[index][1]["href"] for index in page.inside("a", summary)]
    places = [page.text(page.find("section", id=link[1:])[0]) for link in links]
    assert [re.sub(" .*", "", place) for place in places] == ["C2", "C10", "C10"]
    assert len(page.find("article")) == 3


def test_every_link_leads_to_its_place(tmp_path) -> None:
    for name in ("a", "b"):
        make(tmp_path / name, verdicts={"C1": NEW_VERDICT, "C2": OLD_VERDICT}, about=ABOUT)
    page = reported(tmp_path, tmp_path)
    ids = [own["id"] for _, own in page.elements if "id" in own]
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in page.attributes("a", "href")} <= set(ids)


def test_what_looks_like_html_is_text(tmp_path) -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    words = {name: evil for name in ("claim", "verdict", "evidence", "rule")}
    about = {**ABOUT, "figures": {"errors": f'"{evil}'}, "question": evil, "about": evil}
    about |= {"study": evil, "invocations": [dict.fromkeys(RAN, evil)]}
    of_rows = dict.fromkeys((evil, "study", "run", "dataset", "device"), evil)
    rows = [line | of_rows for line in ROWS]
    verdicts = {f"C1 {evil}": {**words, "numbers": {evil: {"low": [evil], "high": evil}}}}
    page = reported(make(tmp_path / "mine", rows, verdicts, about), tmp_path)
    assert len(page.find("script")) == 1
    assert len(page.find("img")) == 1
    assert all("onerror" not in own for _, own in page.elements)
    assert page.text().count(evil) >= 20


def test_the_page_asks_for_nothing_outside_of_it(tmp_path) -> None:
    make(tmp_path / "mine", verdicts={"C1": NEW_VERDICT}, about=ABOUT)
    page = reported(tmp_path, tmp_path)
    asked = [
        value
        for _, own in page.elements
        for name, value in own.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert [value for value in asked if not value.startswith(("#", "data:image/png;base64,"))] == []
    text = (tmp_path / "page.html").read_text()
    assert re.findall(r"url\(|@import|https?://|fetch\(|XMLHttp|<link", text) == []
    (policy,) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in page.elements[policy][1]["content"]


def test_the_command_says_what_it_wrote_and_how_large_it_is(tmp_path, capsys, monkeypatch) -> None:
    folder = make(tmp_path / "mine", about=ABOUT)
    tiny.command("report", folder)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"wrote {folder / 'report.html'}"
    assert second == "0.0 MB: studies 1, figures 1 (0.0 MB as PNG)"
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.command("report", folder, "--out", "~/out")
    assert (tmp_path / "out" / "report.html").is_file()


# ---- values ----


def test_an_answer_is_taken_apart_at_its_words() -> None:
    assert report_page.answer("FAILED at 10 units, HELD at 128 units") == [
        Part("FAILED", True),
        Part(" at 10 units, ", False),
        Part("HELD", True),
        Part(" at 128 units", False),
    ]
    assert report_page.answer("UNDECIDED") == [Part("UNDECIDED", True)]
    assert report_page.answer("WITHHELD") == [Part("WITHHELD", False)]


def test_numbers_are_comparisons_or_they_are_shown_as_they_are() -> None:
    flat = [Comparison("", "MSE, and half of it", "0.1, 0.2", "0.3")]
    assert report_page.comparisons(NUMBERS) == flat
    sizes = {"10 units": {"verdict": "HELD", "numbers": NUMBERS}}
    assert report_page.comparisons(sizes) == [flat[0]._replace(where="10 units")]
    assert report_page.comparisons({"slope": 1.0}) is None
    assert report_page.comparisons({"a": {"b": {"c": 1}}}) is None
    assert report_page.comparisons([1, 2]) is None
    assert report_page.claim("C1", OLD_VERDICT | {"numbers": {"slope": 1.0}}, "").numbers == (
        '{\n  "slope": 1.0\n}'
    )


def test_claims_are_in_natural_order_and_those_of_the_write_up_come_first() -> None:
    names = ["C13, slightly blurry", "C2", "B1, linear", "C13", "B1", "C10", "7"]
    expected = ["C2", "C10", "C13", "C13, slightly blurry", "7", "B1", "B1, linear"]
    assert sorted(names, key=findings.natural) == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min 0 s"), (512.3, "8 min 32 s"), (3720, "1 h 2 min")],
)
def test_a_time_is_given_in_words(seconds: float, words: str) -> None:
    assert report_page.duration(seconds) == words


def test_without_by_rows_are_grouped_by_run_and_by_what_differs_within_a_run() -> None:
    rows = [
        row(run, seed, scale) for run in ("z2", "z10") for seed in (0, 1) for scale in (1.0, 9.0)
    ]
    assert row_tables.grouping(rows, ()) == ["run", "recon_scale"]
    assert row_tables.grouping(rows, ["seed"]) == ["seed"]
    assert row_tables.grouping(rows, ["state"]) == ["run", "recon_scale"]  # not in the rows
    assert row_tables.grouping(rows[:1], ()) == ["run"]
    assert row_tables.grouping([{"mse": 1.0}], ()) == []


def test_a_cell_is_a_mean_over_seeds_or_words_or_nothing() -> None:
    values = {"mse": [1.0, 2.0], "collapse": ["total", "partial"], "gap": [1.0, None]}
    rows = [{"run": "z2"} | {name: of[seed] for name, of in values.items()} for seed in (0, 1)]
    (line,) = row_tables.grouped(rows, ["run"], [*values, "missing"]).rows
    assert [cell.text for cell in line] == [
        "z2", "1.50 ± 0.50", "partial, total", row_tables.NONE, row_tables.NONE,
    ]  # fmt: skip
    assert [cell.number for cell in line] == [None, 1.5, None, None, None]


def test_sigma_and_beta_are_shown_where_they_are_numbers(tmp_path) -> None:
    make(tmp_path / "mine", about=ABOUT)
    names, _ = tables(reported(tmp_path, tmp_path))[0]
    assert names == ["run", "effective_sigma", "mse"]


def test_settings_are_told_once_or_for_each_run() -> None:
    settings = dict(report_page.shared(ROWS))
    assert settings["model"] == "vae"
    assert settings["encoder widths"] == "8, 4"
    assert "latent size" not in settings
    table = row_tables.settings_of_runs(ROWS)
    assert table is not None
    assert [[cell.text for cell in line] for line in table.rows] == [["z2", "2"], ["z10", "10"]]
    assert row_tables.settings_of_runs(ROWS[:2]) is None


# ---- errors ----


def test_a_folder_without_studies_is_refused(tmp_path, capsys) -> None:
    assert "There is no folder" in tiny.fail(capsys, "report", tmp_path / "nowhere")
    assert "no results of a study" in tiny.fail(capsys, "report", tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("results.jsonl", b'{"run": "z2"'),
        ("results.jsonl", b"\xff\xfe"),
        ("verdict.json", b"{"),
        ("verdict.json", b"[]"),
        ("verdict.json", b'{"C1": {"rule": "no verdict"}}'),
        ("study.json", b"\xff"),
        ("study.json", b'{"columns": "mse"}'),
        ("study.json", b'{"figures": []}'),
        ("study.json", b'{"invocations": [1]}'),
        ("errors.png", b"no picture"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(file, content, tmp_path, capsys) -> None:
    folder = make(tmp_path / "mine", verdicts={"C1": NEW_VERDICT}, about=ABOUT)
    (folder / file).write_bytes(content)
    text = tiny.fail(capsys, "report", tmp_path)
    assert f"{folder / file} is damaged" in text
    assert "delete" in text or "remove that line" in text
    assert not (tmp_path / "report.html").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys) -> None:
    make(tmp_path / "mine")
    text = tiny.fail(capsys, "report", tmp_path, "--out", tmp_path / "mine/results.jsonl/x.html")
    assert "Cannot write" in text
    assert "--out" in text


def test_a_study_without_rows_is_no_error(tmp_path) -> None:
    make(tmp_path / "mine", rows=[], about=ABOUT)
    assert "0 trained models" in reported(tmp_path, tmp_path).text()
