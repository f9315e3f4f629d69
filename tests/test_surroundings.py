"""vaejax.study.environment: variables and files of a user change no row and no figure."""

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[1]
STRANGE = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_ENABLE_X64": "1",
    "JAX_DEBUG_NANS": "1",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_SOFTMAX_CUSTOM_JVP": "1",
    "JAX_LEGACY_PRNG_KEY": "error",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_TRANSFER_GUARD_DEVICE_TO_HOST": "disallow",
    "JAX_ENABLE_CHECKS": "1",
    "JAX_CHECK_TRACER_LEAKS": "1",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_NO_EXECUTION": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "MPLBACKEND": "nonsense",
    "PYTHONIOENCODING": "ascii",
}
STUDY = """
import sys
import vaejax as vj
from pathlib import Path
from tests import tiny

def figures(lab, rows):
    (line,) = vj.study.against(rows, "latent_size", "mse").values()
    return {"mse": vj.show.curves([vj.show.Panel("a", "", {"VAE": line})], "units", "The error")}

tiny.run("latent_size", Path(sys.argv[1]), "--latent-sizes", "2", figures=figures)
"""


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        check=False,
        umask=0o077,
    )


def test_a_study_is_the_same_whatever_the_users_settings_are(finished, tmp_path) -> None:
    done = run("-c", STUDY, tmp_path, **STRANGE)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    folder = tmp_path / "latent_size"
    assert tiny.rows_of(folder) == tiny.rows_of(finished("latent_size"))[:2]
    assert (folder / "mse.png").exists()
    assert "seeds +/- half" in " ".join(done.stdout.decode("ascii").split())
    files = {path.name: path.stat().st_mode & 0o777 for path in folder.glob("[!.]*.*")}
    assert files == dict.fromkeys(("results.jsonl", "study.json", "verdict.json", "mse.png"), 0o600)


@pytest.mark.skipif(
    any(found.name.startswith("jax-cuda") for found in distributions()), reason="there is cuda"
)
def test_a_platform_that_is_not_there_is_one_line(tmp_path) -> None:
    flags = ["--dataset", "digits", "--out", tmp_path / "out"]
    done = run("-m", "experiments.latent_size", *flags, JAX_PLATFORMS="cuda")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: JAX finds no device (")
    assert line.endswith("JAX_PLATFORMS is 'cuda': unset it, or set it to cpu.")
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()
