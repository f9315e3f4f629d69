"""vaejax.study.lock: one process at a time in the folder of a study."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vaejax import files
from vaejax.errors import LabError
from vaejax.study import lock

HOLD = """
import sys
from pathlib import Path
from vaejax.study.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_second_process_is_refused_until_the_first_one_is_gone_even_if_it_was_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "study"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(LabError) as caught, lock.held(folder):
            pass
        first.send_signal(signal.SIGKILL)
    finally:
        first.kill()
        first.communicate()
    assert str(caught.value) == (
        f"{folder} is in use by another process: wait until it ends, or use another --out."
    )
    assert names(folder) == {lock.LOCK}
    with lock.held(folder):
        pass
    assert not folder.exists()


@pytest.mark.parametrize("error", [LabError, KeyboardInterrupt])
def test_a_study_that_fails_leaves_what_it_wrote(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), lock.held(tmp_path / "study"):  # noqa: PT012
        (tmp_path / "study" / "config.json").write_text("{}")
        raise error
    assert names(tmp_path / "study") - {lock.LOCK} == {"config.json"}
    with lock.held(tmp_path / "study"):
        pass


def test_a_study_that_fails_before_it_wrote_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LabError), lock.held(tmp_path / "study"):
        raise LabError("Too large a batch.")
    assert not (tmp_path / "study").exists()


def test_a_hidden_file_of_a_user_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    with lock.held(tmp_path):
        pass
    assert names(tmp_path) == {".DS_Store"}


def test_what_a_killed_process_was_writing_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed does not tidy up, and has not renamed what it wrote."""
    written = [tmp_path / "results.jsonl", tmp_path / "z2" / "config.json"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(Path, "replace", killed)
        for path in written:
            with pytest.raises(KeyboardInterrupt):
                files.write_bytes(path, b"half")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 2
    assert not set(left) & set(written)
    with lock.held(tmp_path):
        assert names(tmp_path) == {lock.LOCK, "z2"}
        assert names(tmp_path / "z2") == set()


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "study").touch()
    with (
        pytest.raises(LabError, match=r"Cannot write .*study: File exists\. Use another --out"),
        lock.held(tmp_path / "study"),
    ):
        pass
