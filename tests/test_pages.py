"""Every study, tiny, on the embedded digits: what it leaves behind, that it goes on from there, and
what it refuses. The science of each is in the tests of its page."""

import io
import json
import math
import shlex
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from datetime import datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import vaejax as vj
from tests import handmade, tiny
from tests.test_report import tables

EVERY = pytest.mark.parametrize("study", tiny.STUDIES)
LANES: dict[str, dict[str, list[float]]] = {
    "latent_size": {"z2": [64], "z3": [64]},
    "autoencoder": {"ae-z2": [64], "vae-z2": [64]},
    "blur": {"z2": [64]},
    "collapse": {"z2-depth1": [1, 6000], "z2-depth2": [1], "z2-signed": [1, 6000]},
    "recon_scale": {"z2": [1, 6000]},
    "remedies": {"fixed": [1, 1, 1, 1, 32, 32, 32, 32, 6000], "learned": [32]},
    "few_images": {"z2-n5": [1, 6000]},
    "two_images": {
        "z2-n2": [1, 6000],
        **{f"z2-n2-batch{batch}-passes": [1, 6000] for batch in ("2-120", "1-60", "1-120")},
    },
    "many_units": {"linear": [32, 60, 6000], "mlp1": [32, 60, 6000]},
    "gaps": {"z2-1-epochs": [64], "z2-2-epochs": [64]},
}
"""The scales of each run."""
TIMES: dict[str, dict[str, list[float]]] = {
    "linear_vae": {"linear": [0.5, 0.9, 1.2, 2, 4, 20, 32 / 46.24, 6000 / 46.24]},
    "phase_diagram": {
        "linear-gaussian": [32 / 46.24, 0.9, 2],
        "linear-bernoulli": [0.9, 2, 64 / 19.17],
    },
    "dead_or_slow": {
        f"{net}-{part}": times
        for net in ("linear", "mlp1")
        for part, times in (("start", [0.5, 2]), ("raised", [0.9, 1.4]), ("lowered", [0.9, 1.4]))
    },
}
"""The scales of each run, as multiples of the threshold of its images."""
FIGURES = {
    "latent_size": {"curves", "samples", "reconstructions"},
    "autoencoder": {"mse", "distances", "samples", "nearest", "codes"},
    "blur": {"spectrum", "reconstructions"},
    "collapse": {"strip", "codes", "depth", "terms", "kl_per_unit"},
    "recon_scale": {"scales", "reconstructions"},
    "remedies": {"remedies", "samples", "reconstructions"},
    "few_images": {"few_images", "spectrum"},
    "two_images": {"two_images", "distances"},
    "linear_vae": {"linear_vae"},
    "phase_diagram": {"phase_diagram"},
    "dead_or_slow": {"waking", "rates", "loop"},
    "many_units": {"many_units", "directions", "training"},
    "gaps": {"gaps", "training"},
}
LARGER = {"C5", "B7, without the encoder"}
"""Claims about latent sizes that no tiny study has."""


def copied(folder: Path, out: Path) -> Path:
    """A copy of the folder of a study, to change."""
    return Path(shutil.copytree(folder, out / folder.name))


@EVERY
def test_there_is_a_row_for_every_run_scale_and_seed(study, finished) -> None:
    rows = tiny.rows_of(finished(study))
    found = [(row["run"], row["recon_scale"], row["seed"]) for row in rows]
    if study in LANES:
        assert found == [
            (run, scale, seed)
            for run, scales in LANES[study].items()
            for scale, seed in product(scales, (0, 1))
        ]
    else:
        first = {row["run"]: row["threshold_scale"] for row in rows}
        assert found == [
            (run, pytest.approx(time * first[run], rel=1e-3), seed)
            for run, times in TIMES[study].items()
            for time, seed in product(times, (0, 1))
        ]


@EVERY
def test_a_row_says_where_it_comes_from(study, finished, tmp_path) -> None:
    """Its run is the one that was planned, and the one that the folder describes."""
    folder = finished(study)
    planned = tiny.open_lab(study, tmp_path).runs
    for row in tiny.rows_of(folder):
        run = planned[row["run"]]
        assert vj.store.checkpoint.read_run(folder / row["run"]).to_json() == run.to_json()
        told = run.lanes[row["lane"]]
        assert {name: row[name] for name in told} == told
        assert (row["study"], row["dataset"], row["split"]) == (study, "digits", run.images.train)
        assert row["config"] == run.to_json()["config"]
        assert row["latent_size"] == run.config.latent_size
        assert row["versions"]["jax"]


@EVERY
def test_verdict_json_is_what_the_claims_say_of_the_saved_rows(study, finished) -> None:
    """Of latent sizes 2 and 3, claims about 4 and 10 say nothing."""
    folder = finished(study)
    found = handmade.found(study, tiny.rows_of(folder))
    judged = {claim: verdict for claim, verdict in found.items() if verdict is not None}
    silent = {claim for claim in found if claim in LARGER or "in [-1, 1]" in claim}
    assert set(judged) == found.keys() - silent
    want = {claim: {**verdict._asdict(), "counts": True} for claim, verdict in judged.items()}
    written = json.loads((folder / "verdict.json").read_text())
    assert written == vj.store.records.plain(want)
    assert list(written) == list(want)


@EVERY
def test_resuming_trains_nothing_and_says_the_same(
    study, finished, tmp_path, monkeypatch, capsys
) -> None:
    folder, kept = finished(study), ("verdict.json", "results.jsonl")
    drawn = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    assert set(drawn) == FIGURES[study]
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    copy = copied(folder, tmp_path)
    (copy / "verdict.json").unlink()
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    tiny.run(study, tmp_path, "--resume", figures=tiny.no_figures)
    for name in kept:
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
    printed = " ".join(capsys.readouterr().out.split())
    for claim, verdict in json.loads((folder / "verdict.json").read_text()).items():
        said = f"{claim} {verdict['question']} {verdict['verdict']} {verdict['answer']}"
        assert " ".join(said.split()) in printed
    assert "--quick" not in printed


@EVERY
def test_study_json_says_what_was_asked_by_which_command_and_what_is_in_the_figures(
    study, finished
) -> None:
    about, page = tiny.about(finished(study)), tiny.page(study).STUDY
    assert (about["study"], about["about"]) == (study, page.text)
    assert all(f"{claim.name}: {claim.asks()} HELD (yes) if " in page.text for claim in page.claims)
    assert about["question"] == " ".join(page.about.split("\n\n")[0].split())
    for name in ("columns", "more_columns", "by"):
        assert about[name] == list(getattr(page, name))
    (ran,) = about["invocations"]
    assert ran["seconds"] > 0
    assert ran["versions"]["jax"]
    assert datetime.fromisoformat(ran["date"]).tzinfo is not None
    assert set(about["figures"]) == FIGURES[study]
    for caption in about["figures"].values():
        first, second = caption.splitlines()
        assert first.endswith(f". {ran['command']}")
        assert second.startswith("Seeds 0, 1. Effective ")


def asked(study: str, command: str) -> dict[str, Any]:
    """The flags that the command of a study.json asks for, but for those of which it is silent."""
    python, m, module, *arguments = shlex.split(command)
    assert (python, m, module) == ("python", "-m", f"experiments.{study}")
    silent = {field.name for field in fields(vj.study.flags.ExecutionFlags)}
    found = vars(tiny.flags_of(study, *arguments))
    return {name: value for name, value in found.items() if name not in silent}


@EVERY
def test_the_command_of_study_json_asks_for_the_same_again(study, finished, again) -> None:
    """Every run of it that measured anything is there: the first, and one with `--quick`."""
    (plain,) = tiny.about(finished(study))["invocations"]
    first, second = tiny.about(again(study).folder)["invocations"]
    assert first == plain
    for ran, more in ((plain, ()), (second, quick_flags(study))):
        same = shlex.join(["python", "-m", f"experiments.{study}", *tiny.STUDIES[study], *more])
        assert asked(study, ran["command"]) == asked(study, same)
        silent = {field.name for field in fields(vj.study.flags.ExecutionFlags)}
        assert not {vj.study.flags.flag(name) for name in silent} & set(ran["command"].split())
        assert len(ran["command"]) <= len(same)


@pytest.mark.parametrize(("flags", "width"), [((), 100), (("--all-columns",), 80)])
@EVERY
def test_tables_are_whole_and_fit_the_terminal(
    study, flags, width, finished, tmp_path, monkeypatch, capsys
) -> None:
    """With every figure that there is if all are asked for, and always with sigma or beta."""
    monkeypatch.setattr(vj.study.terminal, "WIDTH", width)
    page, rows = tiny.page(study).STUDY, tiny.rows_of(finished(study))
    lab = tiny.open_lab(study, tmp_path, *flags)
    verdicts = vj.study.runner.judge(page, vj.study.recording.Recorded(rows, [], False))
    vj.study.runner.show_findings(page, lab, rows, verdicts, [])
    text = capsys.readouterr().out.partition("\nSeeds 0, 1.")[0]
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    (noise,) = vj.study.terminal.noise_columns(rows)
    assert noise in ("effective_sigma", "effective_beta")
    left = [noise, *page.columns, *(page.more_columns if flags else ())]
    shown = page.shown(rows)
    groups = list(dict.fromkeys(tuple(row[name] for name in page.by) for row in shown))
    for table in tables(text, len(groups)):
        columns = left[: len(table.headings) - len(page.by)]
        left = left[len(columns) :]
        assert table.headings == [
            vj.study.words.of_column(name).split()[-1] for name in (*page.by, *columns)
        ]
        for group, line in zip(groups, table.lines, strict=True):
            where = dict(zip(page.by, group, strict=True))
            cells = [
                vj.study.terminal.cell(vj.study.values(shown, name, **where)) for name in columns
            ]
            names = [f"{name:g}" if isinstance(name, float) else str(name) for name in group]
            assert line == " ".join([*names, *cells])
    assert left == []


class Again(NamedTuple):
    """A finished study whose rows, verdicts and figures were lost, and which was resumed with
    `--quick`; nothing could be trained, and no figure drawn."""

    folder: Path
    status: Any
    out: str
    err: str
    calls: list[str]
    """Of the functions that load images and work out their moments."""
    seen: list[Any]
    """What there was when the figures were to be drawn: rows and verdicts in memory and on disk."""


@pytest.fixture(scope="session")
def again(finished, tmp_path_factory) -> Callable[[str], Again]:
    @cache
    def resumed(study: str) -> Again:
        folder = copied(finished(study), tmp_path_factory.mktemp("again"))
        for path in [*folder.glob("*.png"), folder / "results.jsonl", folder / "verdict.json"]:
            path.unlink()
        calls, seen = [], []

        def failing(_: Any, rows: Any) -> Any:
            seen.extend([rows, tiny.rows_of(folder), (folder / "verdict.json").read_bytes()])
            raise ValueError("a mistake in the page")

        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for module, name in (
                (vj.data.dataset, "open_source"),
                (vj.theory.components, "moments"),
            ):
                function = getattr(module, name)

                def counting(*given: Any, name=name, function=function, **more: Any) -> Any:
                    calls.append(name)
                    return function(*given, **more)

                patch.setattr(module, name, counting)
            patch.setattr(vj.parallel, "advance", tiny.not_again)
            more = ["--resume", *quick_flags(study)]
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
                tiny.run(study, folder.parent, *more, figures=failing)
        return Again(folder, end.value.code, out.getvalue(), err.getvalue(), calls, seen)

    return resumed


def quick_flags(study: str) -> list[str]:
    """`--quick`, with as many images as without."""
    images = "10000" if "train_images" in own_fields(study) else "None"
    return ["--quick", "--train-images", images, "--test-images", "None"]


def own_fields(study: str) -> set[str]:
    """The fields of the flags of a study that its page declares."""
    return set(vars(tiny.page(study).STUDY.flags)["__annotations__"])


@EVERY
def test_what_is_trained_is_measured_again_to_the_same_rows(study, finished, again) -> None:
    rows = "results.jsonl"
    assert (again(study).folder / rows).read_bytes() == (finished(study) / rows).read_bytes()


@EVERY
def test_images_are_loaded_once_and_their_moments_worked_out_once(study, again) -> None:
    calls = again(study).calls
    assert calls.count("open_source") == 1
    assert calls.count("moments") == 1


@EVERY
def test_a_figure_that_fails_leaves_rows_table_and_verdicts(study, again) -> None:
    """What was measured is on disk before anything is drawn."""
    folder, status, out, err, _, seen = again(study)
    assert status == (
        "error: The figures were not drawn: a mistake in the page\n"
        "The results are; --resume draws again."
    )
    assert "Traceback" in err  # for the author of the page
    given, rows, verdicts = seen
    assert given == rows == tiny.rows_of(folder)
    assert verdicts == (folder / "verdict.json").read_bytes()
    assert f"{folder}: mean over seeds ± half their range" in " ".join(out.split())
    assert f"wrote {folder / 'results.jsonl'}\nwrote {folder / 'verdict.json'}" in out
    assert not list(folder.glob("*.png"))


@EVERY
def test_the_verdicts_of_a_quick_study_do_not_count(study, finished, again) -> None:
    folder, _, out, *_ = again(study)
    counting, not_counting = (
        json.loads((path / "verdict.json").read_text()) for path in (finished(study), folder)
    )
    assert not_counting == {claim: v | {"counts": False} for claim, v in counting.items()}
    if counting:
        assert f"{', '.join(counting)}: no answer after --quick" in " ".join(out.split())


BAD = [
    ("latent_size", "--learning-rate -1", "learning_rate=-1.0: use a positive number"),
    ("latent_size", "--recon-scale nan", "recon_scale=nan"),
    ("latent_size", "--recon-scale 1e39", "a float32 can hold"),
    ("latent_size", "--kl-weight -0.1", "kl_weight=-0.1"),
    ("latent_size", "--batch-size 0", "batch_size=0"),
    ("latent_size", "--batch-size 5000", "1438 training images fill no batch of 5000"),
    ("latent_size", "--batch-size 5000", "a batch_size of 1438 or less"),
    ("latent_size", "--epochs 0", "--epochs 0"),
    ("latent_size", "--steps 0", "--steps 0"),
    ("latent_size", "--checkpoint-every 0", "--checkpoint-every 0"),
    ("latent_size", "--train-images 1", "--train-images 1"),
    ("latent_size", "--train-images 100", "use a batch_size of 100 or less"),
    ("latent_size", "--test-images 1", "--test-images 1"),
    ("latent_size", "--seeds 1 1", "--seeds (1, 1): give one or more, each once"),
    ("latent_size", "--seeds", "--seeds (): give one or more"),
    ("latent_size", "--seeds -1", "seeds=(-1,)"),
    ("latent_size", "--widths 0", "encoder_widths=(0,)"),
    ("latent_size", "--latent-sizes 0", "latent_size=0"),
    ("latent_size", "--latent-sizes", "--latent-sizes ()"),
    ("latent_size", "--nll-samples 0", "--nll-samples 0"),
    ("latent_size", "--binarize --likelihood gaussian", "binarize=True needs"),
    ("latent_size", "--dataset no_such_set", "no_such_set"),
    ("latent_size", "--likelihood poisson", "poisson"),
    ("latent_size", "--no-such-flag", "no-such-flag"),
    ("latent_size", "--format png png", "--format ('png', 'png'): give one or more, each once"),
    ("latent_size", "--format jpg", "--format"),
    ("autoencoder", "--latent-sizes 2 2", "--latent-sizes (2, 2)"),
    ("blur", "--latent-sizes", "--latent-sizes"),
    ("blur", "--latent-sizes 2 2", "--latent-sizes (2, 2)"),
    ("blur", "--latent-sizes enough --kl-weight 0", "--latent-sizes enough: with --kl-weight 0"),
    ("blur", "--latent-sizes many", "--latent-sizes"),
    ("blur", "--recon-scale 0", "recon_scale=0.0"),
    ("collapse", "--depths 2", "--depths (2,)"),
    ("collapse", "--depths 1 0", "--depths (1, 0)"),
    ("collapse", "--recon-scale 6 1", "--recon-scale (6.0, 1.0)"),
    ("collapse", "--latent-sizes 1", "--latent-sizes (1,)"),
    ("collapse", "--latent-sizes 2 enough 2", "--latent-sizes (2, 'enough', 2)"),
    ("collapse", "--latent-sizes", "--latent-sizes ()"),
    ("collapse", "--widths", "--widths"),
    ("recon_scale", "--latent-sizes 3 3", "--latent-sizes (3, 3)"),
    ("recon_scale", "--recon-scale 1", "--recon-scale (1.0,): give two or more"),
    ("recon_scale", "--recon-scale 1 1", "--recon-scale (1.0, 1.0)"),
    ("recon_scale", "--recon-scale 1 -1", "recon_scale=-1.0"),
    ("recon_scale", "--decoder-variance learned --likelihood bernoulli", "gaussian"),
    ("recon_scale", "--kl-warmup 5 --kl-cycle 2", "kl_cycle=2"),
    ("remedies", "--free-bits 0", "--free-bits 0"),
    ("remedies", "--free-bits -1", "free_bits=-1.0"),
    ("remedies", "--recon-scale 0", "recon_scale=0.0"),
    ("remedies", "--nll-samples 0", "--nll-samples 0"),
    ("few_images", "--latent-sizes 3 3", "--latent-sizes (3, 3)"),
    ("few_images", "--images 1", "--images 1: use a whole number of 2"),
    ("few_images", "--images", "--images ()"),
    ("few_images", "--images 5 5", "--images (5, 5)"),
    ("few_images", "--recon-scale 1", "--recon-scale (1.0,)"),
    ("few_images", "--recon-scale 0 1", "recon_scale=0.0"),
    ("few_images", "--recon-scale 1 1 2", "--recon-scale (1.0, 1.0, 2.0)"),
    ("two_images", "--recon-scale 1", "--recon-scale (1.0,)"),
    ("linear_vae", "--kl-weight 0", "--kl-weight 0"),
    ("linear_vae", "--recon-scale -1", "recon_scale=-1.0"),
    ("phase_diagram", "--widths 4 4", "--widths (4, 4)"),
    ("phase_diagram", "--kl-weight 0", "--kl-weight 0"),
    ("phase_diagram", "--train-images 0", "--train-images 0"),
    ("phase_diagram", "--train-images 20", "20 training images"),
    ("phase_diagram", "--times 2 2", "--times (2.0, 2.0)"),
    ("phase_diagram", "--nets mlp1 mlp1", "--nets ('mlp1', 'mlp1')"),
    ("dead_or_slow", "--kl-weight 0", "--kl-weight 0"),
    ("dead_or_slow", "--widths", "use one width"),
    ("dead_or_slow", "--train-images 1", "--train-images 1"),
    ("dead_or_slow", "--times 2 2", "--times (2.0, 2.0)"),
    ("many_units", "--widths 4 4", "--widths (4, 4)"),
    ("many_units", "--kl-weight 0", "--kl-weight 0"),
    ("many_units", "--nets mlp1 mlp1", "--nets ('mlp1', 'mlp1')"),
    ("many_units", "--recon-scale elbo elbo", "--recon-scale ('elbo', 'elbo')"),
    ("many_units", "--latent-size 0", "latent_size=0"),
    ("gaps", "--latent-sizes 2 2", "--latent-sizes (2, 2)"),
    ("gaps", "--lengths 0 1", "--lengths (0.0, 1.0)"),
    ("gaps", "--lengths 1 1", "--lengths (1.0, 1.0)"),
    ("gaps", "--gap-images 0", "--gap-images 0"),
    ("gaps", "--nll-samples 0", "--nll-samples 0"),
    ("gaps", "--ascent-steps 0", "--ascent-steps 0"),
]


@EVERY
def test_bad_flags_are_one_message_that_names_them(study, tmp_path, capsys) -> None:
    for name, arguments, message in BAD:
        if name == study:
            flags = [*tiny.STUDIES[study], "--out", tmp_path, *arguments.split()]
            assert message in tiny.fail(capsys, study, *flags), arguments
    assert not list(tmp_path.iterdir())


FIXED = {
    "collapse": ["--likelihood", "--output", "--pixel-range"],
    "remedies": ["--likelihood", "--decoder-variance", "--kl-warmup", "--kl-cycle"],
    "few_images": ["--likelihood", "--kl-cycle"],
    "two_images": ["--likelihood", "--kl-cycle", "--batch-size"],
    "linear_vae": [
        "--likelihood", "--output", "--decoder-variance", "--widths", "--kl-cycle", "--free-bits"
    ],
    "phase_diagram": ["--likelihood", "--output", "--kl-cycle", "--free-bits"],
    "dead_or_slow": ["--kl-cycle", "--free-bits", "--start"],
    "many_units": [
        "--likelihood", "--output", "--pixel-range", "--decoder-variance", "--kl-cycle",
        "--free-bits",
    ],
}  # fmt: skip


@pytest.mark.parametrize("study", FIXED)
def test_a_flag_that_a_study_fixes_is_not_on_its_command_line(study, tmp_path, capsys) -> None:
    values = {"--likelihood": "bernoulli", "--output": "tanh", "--pixel-range": "signed"}
    values |= {"--decoder-variance": "learned"}
    for flag in FIXED[study]:
        more = ["--out", tmp_path, flag, values.get(flag, "5")]
        text = tiny.fail(capsys, study, *tiny.STUDIES[study], *more)
        assert text.startswith("2 ")
        assert f"Unrecognized options: {flag}" in text
    assert not list(tmp_path.iterdir())


QUICK = {
    "latent_size": {"nll_samples": 20},
    "autoencoder": {"latent_sizes": (2, 10)},
    "collapse": {"depths": (1,), "latent_sizes": (10,)},
    "recon_scale": {"latent_sizes": (10,), "recon_scale": (1.0, 6000.0)},
    "blur": {"latent_sizes": (10,)},
    "few_images": {"images": (25,), "latent_sizes": (10,)},
    "two_images": {"latent_sizes": (10,), "recon_scale": (1.0, 6000.0)},
    "phase_diagram": {"nets": ("linear",), "times": (0.9, 1.1, 2.0)},
    "dead_or_slow": {"times": (0.9, 1.4)},
    "many_units": {"nets": ("mlp1",)},
    "gaps": {"lengths": (1.0,), "gap_images": 50},
}
"""What `--quick` changes beside the shared flags."""


@EVERY
def test_a_quick_study_has_other_defaults_and_nothing_else(study) -> None:
    plain, quick = tiny.flags_of(study), tiny.flags_of(study, "--quick")
    want = {"quick": True, "steps": 100, "seeds": (0, 1)}
    want |= {"train_images": 10_000, "test_images": 1_000} | QUICK.get(study, {})
    differing = {
        name: value for name, value in vars(quick).items() if value != getattr(plain, name)
    }
    same = {"train_images"} if plain.train_images == 10_000 else set()
    same |= {"seeds"} if plain.seeds == (0, 1) else set()
    assert differing == {name: value for name, value in want.items() if name not in same}
    assert all(getattr(quick, name) == value for name, value in want.items())
    assert plain.folder == Path("checkpoints") / plain.dataset
    assert quick.folder == Path("checkpoints") / f"{plain.dataset}-quick"


REAL = [
    *product(("latent_size", "autoencoder", "remedies"), ("mnist", "cifar10")),
    *product(("blur", "few_images", "two_images", "collapse", "recon_scale"), ("cifar10",)),
    ("recon_scale", "mnist"),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("study", "dataset"), REAL)
def test_a_study_runs_on_the_real_sets(study, dataset, tmp_path) -> None:
    small = ["--quick", "--epochs", "1", "--widths", "8"]
    small += ["--latent-size" if study == "remedies" else "--latent-sizes", "2"]
    if study in ("latent_size", "remedies"):
        small += ["--nll-samples", "2"]
    tiny.command(study, "--dataset", dataset, *small, "--out", tmp_path)
    (folder,) = tmp_path.iterdir()
    rows = tiny.rows_of(folder)
    assert {row["dataset"] for row in rows} == {dataset}
    assert {row["seed"] for row in rows} == {0, 1}
    assert all(0 < row["mse"] < 0.3 and math.isfinite(row["mse"]) for row in rows)
    claims = json.loads((folder / "verdict.json").read_text())
    signed = (study, dataset) == ("recon_scale", "cifar10")  # in the range of the write-up, too
    known = [claim.name for claim in tiny.page(study).CLAIMS]
    assert list(claims) == [
        name for name in known if name != "C5" and (signed or "in [-1, 1]" not in name)
    ]
    assert {path.stem for path in folder.glob("*.png")} == FIGURES[study]
