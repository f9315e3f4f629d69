"""The tables of docs are those that docs/results.py writes from results/."""

import re
from pathlib import Path

import vaejax as vj
from docs import results

ROOT = Path(__file__).parents[1]


def test_every_table_is_what_the_rows_say() -> None:
    for path, text in results.documents().items():
        assert path.read_text() == text, f"{path.name}: run python docs/results.py"


def test_every_claim_of_the_write_up_but_c4_has_an_answer() -> None:
    table = results.claims_table(results.studies())
    claims = set(re.findall(r"^\| (C\d+) ", table, re.MULTILINE))
    assert claims == {f"C{number}" for number in range(1, 14) if number != 4}


def test_every_row_says_what_it_was_measured_with() -> None:
    found = results.studies()
    assert len(found) > 10
    for one in found:
        assert {row["dataset"] for row in one.rows} == {one.dataset}
        assert {row["study"] for row in one.rows} == {one.study}
        assert all(row["versions"]["jax"] and row["device"] for row in one.rows)
        assert one.invocations, f"results/{one.dataset}/{one.study} has no command"


def test_the_story_has_an_answer_at_every_place_for_one() -> None:
    story = (ROOT / "docs" / "story.md").read_text()
    blocks = results.ANSWER.findall(story)
    assert {claim for _, claim, _ in blocks} >= {f"C{number}" for number in (1, 5, 9, 13)}
    found = results.studies()
    for claim in (claim for _, claim, _ in blocks):
        assert results.answers(found, claim).startswith(f"{claim}: [")


def test_the_story_shows_the_figures_that_are_collected() -> None:
    shown = set(re.findall(r"\(figures/(\w+\.png)\)", (ROOT / "docs" / "story.md").read_text()))
    collected = {
        f"{place.replace('/', '_')}_{name}.png"
        for place, names in results.PICTURES.items()
        for name in names
    }
    assert collected == shown


def test_collecting_copies_rows_and_cost(finished, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    folder = finished("latent_size")
    results.collect(folder)
    copied = tmp_path / "digits" / "latent_size"
    for name in (vj.study.recording.RESULTS, vj.store.findings.ABOUT):
        assert (copied / name).read_bytes() == (folder / name).read_bytes()
    (one,) = results.studies(tmp_path)
    text = results.section(one)
    assert one.invocations[0]["command"] in text
    assert text.count("\n| z2 |") == text.count("\n| z3 |") == 1
