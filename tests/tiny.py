"""Every study, tiny, on the embedded digits. They share a few nets, so that few programs are
compiled: one hidden layer of 8 units, 2 latent units, batches of 128 images, two seeds."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

import vaejax as vj

FLAGS = ["--dataset", "digits", "--epochs", "2", "--widths", "8", "--seeds", "0", "1"]
LINEAR = ["--dataset", "digits", "--epochs", "2", "--seeds", "0", "1"]
"""Of a study whose nets have no hidden layers, and which has no flag for them."""
SIZE = ["--latent-size", "2"]
SIZES = ["--latent-sizes", "2"]
ENDS = ["--recon-scale", "1", "6000"]
MANY = ["--recon-scale", "elbo", "60", "6000"]
EFFORT = ["--gap-images", "8", "--nll-samples", "5", "--ascent-steps", "3"]
FIXED = ["--decay-steps", "33"]
"""A decay that does not depend on --epochs: a study with it goes on for more epochs."""
LONG = ["--epochs", "120", "--checkpoint-every", "60"]
"""To converge, without a checkpoint after each block: saving takes longer than training."""
STUDIES: dict[str, list[str]] = {
    "latent_size": [*FLAGS, *FIXED, "--latent-sizes", "2", "3", "--nll-samples", "5"],
    "autoencoder": [*FLAGS, *FIXED, *SIZES],
    "blur": [*FLAGS, *SIZES],
    "collapse": [*FLAGS, *SIZES, "--depths", "1", "2"],
    "recon_scale": [*FLAGS, *SIZES, *ENDS, *FIXED],
    "remedies": [*FLAGS, *SIZE, "--nll-samples", "5"],
    "few_images": [*FLAGS, *SIZES, *ENDS, "--images", "5", *LONG],
    "two_images": [*FLAGS, *SIZES, *ENDS, *LONG],
    "linear_vae": [*LINEAR, "--latent-size", "3"],
    "phase_diagram": [*FLAGS, *SIZE, "--nets", "linear", "--times", "0.9", "2", "elbo"],
    "dead_or_slow": [*FLAGS, "--times", "0.9", "1.4"],
    "many_units": [*FLAGS, "--latent-size", "3", "--nets", "linear", "mlp1", *MANY],
    "gaps": [*FLAGS, *SIZES, "--lengths", "0.5", "1", *EFFORT],
}
"""The flags of each study, but for `--out`; later flags win over earlier ones."""
FAMILIES = {
    "cross entropy": ("latent_size", "autoencoder", "blur", "gaps"),
    "squared error": ("collapse", "recon_scale", "remedies", "few_images", "two_images"),
    "linear nets": ("linear_vae", "phase_diagram", "dead_or_slow", "many_units"),
}
"""Studies that share what they compile."""
FILES = {
    "test_pages": "latent_size",
    "test_results_page": "latent_size",
    "test_runner": "latent_size",
    "test_inspect_checkpoint": "latent_size",
    "test_starts": "latent_size",
    "test_best": "latent_size",
    "test_generation_pages": "latent_size",
    "test_html_report": "latent_size",
    "test_data_yours_studied": "latent_size",
    "test_collapse_pages": "collapse",
    "test_remedies_page": "remedies",
    "test_devices": "recon_scale",
    "test_explore": "recon_scale",
    "test_explore_browser": "recon_scale",
    "test_linear_vae_page": "linear_vae",
    "test_phase_diagram_page": "phase_diagram",
    "test_dead_or_slow_page": "dead_or_slow",
    "test_many_units_page": "many_units",
    "test_gaps_page": "gaps",
    "test_scenarios": "gaps",
    "test_training": "latent_size",
    "test_training_log": "latent_size",
    "test_own_study": "many_units",
    "test_your_model": "many_units",
    "test_one_file": "many_units",
    "test_results": "latent_size",
    "test_extremes": "recon_scale",
    "test_surroundings": "latent_size",
    "test_crash": "recon_scale",
    "test_writeup": "latent_size",
}
"""A study that the tests of a file have trained, unless the test names another one."""
SMALLER: dict[str, Any] = {
    "vaejax.study.plans.BLOCK": 5,  # steps until a study asks whether it has converged
    "experiments.autoencoder.PARTS": 2,  # Gaussians of a mixture, which takes long to fit
    "experiments.latent_size.GRID_NODES": 21,  # codes along each of two units
}
"""What is smaller in a tiny study than any flag makes it."""


def family_of(study: str) -> str:
    return next(family for family, studies in FAMILIES.items() if study in studies)


def group_of(test: str) -> str:
    """The group of a test, which runs in one process: the family of its study, so that it is
    trained once, or its file. The study is the first parameter of the test, or that of its file."""
    file, _, name = test.partition("::")
    stem = Path(file).stem
    if stem not in FILES:
        return file
    named = [study for study in STUDIES if re.search(rf"\[{study}\b", name)]
    return family_of(named[0] if named else FILES[stem])


def page(name: str) -> ModuleType:
    """The module of a study, or of another command."""
    return importlib.import_module(f"experiments.{name}")


def command(name: str, *arguments: Any, **changes: Any) -> None:
    """Run a command of `experiments` in this process, with exactly these arguments; `changes` are
    fields of its `Study`."""
    module = page(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        for place, value in SMALLER.items():
            patch.setattr(place, value)
        if hasattr(module, "STUDY"):
            vj.study.run_study(module.STUDY._replace(**changes))
        else:
            module.main()


def run(name: str, out: Path, *more: Any, **changes: Any) -> Path:
    """Run a tiny study; returns its folder."""
    command(name, *STUDIES[name], "--out", out, *more, **changes)
    return out / name


def fail(capsys: pytest.CaptureFixture[str], name: str, *arguments: Any, **changes: Any) -> str:
    """The exit status and the one message with which a command ends."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        command(name, *arguments, **changes)
    assert end.value.code not in (0, None)
    text = f"{end.value.code} {capsys.readouterr().err}"
    assert "Traceback" not in text
    return text


def flags_of(study: str, *arguments: str) -> Any:
    """The flags that a study makes of its command line."""
    module = page(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [study, *arguments])
        return vj.study.command.parse_study(module.STUDY.flags, module.__doc__, module.STUDY.quick)


def about(folder: Path) -> dict[str, Any]:
    """What study.json says of a study."""
    return json.loads((folder / "study.json").read_text())


def rows_of(folder: Path) -> list[vj.store.Row]:
    return vj.store.records.read(folder / "results.jsonl")


def open_lab(name: str, out: Path, *more: Any) -> Any:
    """The `Lab` of a tiny study, with its runs planned; they may be trained already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, [*STUDIES[name], "--out", out, *more])])
        return vj.study.runner.open_lab(page(name).STUDY)


def no_figures(*_: Any) -> dict[str, Any]:
    """For a study of which the pictures are not asked for: they take longer than all the rest."""
    return {}


def not_again(*_: Any, **__: Any) -> None:
    """For `vj.parallel.advance` where everything is trained already."""
    raise AssertionError("it trains again")


def assert_same(got: Any, want: Any) -> None:
    """The same bits in every leaf."""
    jax.tree.map(np.testing.assert_array_equal, got, want)
