"""The report: every claim, answer, figure and row of the studies in a folder is on one page, which
needs nothing else; a folder of any version is read, and a damaged file is named."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vaejax as vj
from tests import tiny
from tests.html import Html
from vaejax.report import page as report_page
from vaejax.report import tables
from vaejax.store import findings


def png() -> bytes:
    """A white picture of 3 by 2 pixels."""
    content = io.BytesIO()
    Image.new("L", (3, 2), 255).save(content, "PNG")
    return content.getvalue()


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
VERDICT = {
    "verdict": "HELD",
    "question": "Are errors small?",
    "answer": "With 10 units yes: 0.1.\nWith 128 units yes: 0.2.",
    "rule": "every seed is below half",
    "numbers": NUMBERS,
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


def table_of(page: Html, words: str) -> tuple[list[str], list[list[str]]]:
    """The names of the columns of a table, and its cells, by the words that it is called."""
    (box,) = page.find("div", **{"aria-label": words})
    (table,) = page.inside("table", box)
    return page.table(table)


@pytest.mark.parametrize("study", ["autoencoder", "recon_scale", "many_units"])
def test_every_claim_answer_figure_and_row_is_on_the_page(study, finished, tmp_path) -> None:
    folder = finished(study)
    page, text = (found := reported(folder, tmp_path)), found.text()
    verdicts = json.loads((folder / "verdict.json").read_text())
    assert verdicts or "No claim was judged" in text
    for claim, verdict in verdicts.items():
        for words in (claim, *(verdict[name] for name in ("question", "answer", "rule"))):
            assert " ".join(words.split()) in text
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
    names, lines = table_of(page, f"Every model of {study} on digits")
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


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Html:
    """The page on a study of a user, on the same of two data sets without
    some files, and on one that has only begun."""
    folder = tmp_path_factory.mktemp("several")
    of_digits = {"C10": VERDICT | {"verdict": "FAILED"}, "C2": VERDICT}
    make(folder / "deep" / "down" / "mine", verdicts=of_digits, about=ABOUT)
    sizes = "HELD at 10 units, UNDECIDED at 128 units"
    of_mnist = {"C2": VERDICT, "C10": VERDICT | {"verdict": sizes}}
    make(folder / "bare", [line | {"dataset": "mnist"} for line in ROWS], of_mnist)
    uncounted = {"C3": VERDICT | {"counts": False}}
    make(folder / "quick", [line | {"study": "quick"} for line in ROWS], uncounted)
    make(folder / "begun", about=ABOUT | {"study": "begun", "invocations": []}, pictures=())
    make(folder / "digits" / "empty", rows=[], about=ABOUT | {"study": "none"})
    return reported(folder, folder)


WORDS = [
    "mine on digits Are errors small?",
    "4 trained models, seeds 0, 1; took 8 min 32 s. Folder: deep/down/mine",
    "C10 Are errors small? With 10 units yes: 0.1. With 128 units yes: 0.2. ✗ FAILED",
    "HELD if every seed is below half.",
    "MSE, and half of it 0.1, 0.2 0.3",
    "errors Errors of all models. python -m mine Seeds 0, 1.",
    "python -m mine --dataset digits 2026-11-26 20:00 UTC, 8 min 32 s. Device: an accelerator. "
    "Commit: def5678. jax 0.10",
    "Runs: two nets of some size.",
    "Lists are not shown; results.jsonl has them: kl_per_unit_nats.",
    "Columns that the study's own table has and its rows lack: half_power_cycles.",
    "Results measured with python 3.11, jax 0.9",
    "model vae encoder widths 8, 4",
    # of the folder without study.json
    "No answers: these models are of a run with --quick, which trains too briefly.",
    "cost not recorded. Folder: bare",
    "commit abc1234 device cpu versions python 3.11, jax 0.9",
    # of the study that has only begun, and of the one without rows
    "No claim was judged",
    "No PNG in the folder of: errors.",
    "0 trained models",
]


def test_the_page_says_what_the_folders_hold(several) -> None:
    assert [words for words in WORDS if words not in several.text()] == []


def test_tables_have_the_columns_of_the_study_and_a_line_for_each_of_its_groups(several) -> None:
    for name in ("mine on digits", "mine on mnist"):  # the one of mnist has no study.json
        names, lines = table_of(several, f"Numbers of {name}")
        assert names[:3] == ["run", "effective_sigma", "mse"]
        assert [line[:3] for line in lines] == [
            ["z2", "1.5", "2.50 ± 0.50"],
            ["z10", "1.5", "10.50 ± 0.50"],
        ]
    settings = table_of(several, "Settings of each run of mine on digits")
    assert settings == (["run", "latent_size"], [["z2", "2"], ["z10", "10"]])


def test_the_summary_has_a_line_for_each_claim_and_a_column_for_each_data_set(several) -> None:
    (summary,) = several.find("table", id="summary")
    _, lines = several.table(summary)
    held, failed, undecided = "✓ HELD", "✗ FAILED", "? UNDECIDED"
    assert lines == [
        ["C2 mine", "Are errors small?", held, held],
        ["C10 mine", "Are errors small?", failed, f"{held} at 10 units, {undecided} at 128 units"],
    ]
    links = [several.elements[index][1]["href"] for index in several.inside("a", summary)]
    places = [several.text(several.find("section", id=link[1:])[0]) for link in links]
    assert [re.sub(" .*", "", place) for place in places] == ["C2", "C2", "C10", "C10"]


def test_links_lead_to_their_places_and_the_page_asks_for_nothing_outside_of_it(several) -> None:
    ids = [own["id"] for _, own in several.elements if "id" in own]
    assert len(set(ids)) == len(ids)
    asked = [
        value
        for _, own in several.elements
        for name, value in own.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    inside = [value for value in asked if value.startswith(("#", "data:image/png;base64,"))]
    assert inside == asked
    assert {link[1:] for link in several.attributes("a", "href")} <= set(ids)
    (policy,) = several.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in several.elements[policy][1]["content"]
    own = " ".join(path.read_text() for path in report_page.FOLDER.iterdir())
    assert re.findall(r"url\(|@import|https?://|fetch\(|XMLHttp|<link", own) == []


def test_what_looks_like_html_is_text(tmp_path) -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    words = {name: evil for name in ("question", "verdict", "answer", "rule")}
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


def test_words_of_an_answer_stand_alone() -> None:
    parts = report_page.WORDS.split("FAILED at 10 units, WITHHELD")
    assert parts == ["", "FAILED", " at 10 units, WITHHELD"]


def test_numbers_are_comparisons_or_they_are_shown_as_they_are(tmp_path) -> None:
    assert report_page.comparisons(NUMBERS) == [("", "MSE, and half of it", "0.1, 0.2", "0.3")]
    sizes = {"10 units": {"verdict": "HELD", "numbers": NUMBERS}}
    assert report_page.comparisons(sizes) == [
        ("10 units", "MSE, and half of it", "0.1, 0.2", "0.3")
    ]
    for other in ({"slope": 1.0}, {"a": {"b": {"c": 1}}}, [1, 2]):
        assert report_page.comparisons(other) is None
    verdicts = {"C1": VERDICT | {"numbers": {"slope": 1.0}}}
    assert '{ "slope": 1.0 }' in reported(make(tmp_path / "a", verdicts=verdicts), tmp_path).text()


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


def test_without_by_rows_are_grouped_by_run_and_by_the_settings_that_differ() -> None:
    rows = [row("z2", seed, scale) for seed in (0, 1) for scale in (1.0, 9.0)]
    assert tables.grouping(rows, ["seed"]) == ["seed"]
    for by in ((), ["state"]):  # which is not in the rows
        assert tables.grouping(rows, by) == ["run", "recon_scale"]
    assert tables.grouping(rows[:1], ()) == ["run"]
    assert tables.grouping([{"mse": 1.0}], ()) == []


def test_a_cell_is_a_mean_over_seeds_or_words_or_nothing() -> None:
    values = {"mse": [1.0, 2.0], "collapse": ["total", "partial"], "gap": [1.0, None]}
    rows = [{"run": "z2"} | {name: of[seed] for name, of in values.items()} for seed in (0, 1)]
    (line,) = tables.means(rows, ["run"], [*values, "missing"]).rows
    texts = ["z2", "1.50 ± 0.50", "partial, total", tables.NONE, tables.NONE]
    assert [cell.text for cell in line] == texts
    assert [cell.number for cell in line] == [None, 1.5, None, None, None]
    single = [tables.single(value).text for value in (2 / 3, 1234567, True, None)]
    assert single == ["0.666667", "1234567", "yes", tables.NONE]


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
        ("study.json", b"[1]"),
        ("study.json", b'{"columns": "mse"}'),
        ("study.json", b'{"figures": []}'),
        ("study.json", b'{"invocations": [1]}'),
        ("study.json", b'{"wanted": {"z2": 1}}'),
        ("errors.png", b"no picture, and longer than the head of one"),
        ("errors.png", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(file, content, tmp_path, capsys) -> None:
    folder = make(tmp_path / "mine", verdicts={"C1": VERDICT}, about=ABOUT)
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


def test_without_study_json_what_differs_between_models_comes_first() -> None:
    """And what is the same in all of them is no further column."""
    same = {f"same{number}": 1.0 for number in range(tables.FIRST)}
    first, more = tables.chosen([{"run": "z2", **same, "mse": mse} for mse in (1.0, 2.0)], {})
    assert (first[0], len(first), more) == ("mse", tables.FIRST, [])
