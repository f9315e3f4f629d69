"""benchmarks.crash: when a study is killed, and what counts as the same end. The benchmark itself
takes minutes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import crash
from tests import tiny

LANES = next(kind for kind in crash.KINDS if kind.name == "lanes")


def test_a_copy_ends_alike_unless_one_bit_or_one_file_of_it_is_another(
    finished, tmp_path: Path
) -> None:
    """Whatever its commit and date, and with what a kill leaves that the next save deletes."""
    copy = tmp_path / "recon_scale"
    shutil.copytree(finished("recon_scale"), copy)
    rows = "".join(json.dumps(row | {"commit": "other"}) + "\n" for row in tiny.rows_of(copy))
    (copy / "results.jsonl").write_text(rows)
    (copy / "study.json").write_text(json.dumps(tiny.about(copy) | {"invocations": []}))
    for left in ("11", ".33", ".11.old"):
        (copy / "z2" / left / "state").mkdir(parents=True)
        (copy / "z2" / left / "state" / "manifest").touch()
    end, wanted = map(crash.end_of, (copy, finished("recon_scale")))
    assert {"z2", "z2/trace/kl.f32", "verdict.json"} <= end.keys()
    assert crash.differences(end, wanted) == []
    (copy / "scales.png").rename(copy / ".vaejax-1")
    assert crash.differences(crash.end_of(copy), wanted) == [
        ".vaejax-1 is left over", "scales.png is missing"
    ]  # fmt: skip
    step, [(kind, content), *others] = end["z2"]
    flipped = bytes([content[0] ^ 1]) + content[1:]
    end["z2"] = (step, [(kind, flipped), *others])
    assert crash.differences(end, wanted) == ["z2 differs"]


def test_a_kill_waits_until_something_is_seen_so_often(tmp_path: Path) -> None:
    write = "import sys, pathlib, time\nfor n in range(3):\n"
    write += " time.sleep(0.2); pathlib.Path(sys.argv[1], f'.mnist-{n}').mkdir()\n"
    place = crash.Place(tmp_path / "study", tmp_path)
    for times, reached, seen in ((2, True, 2), (4, False, 3)):
        command = [sys.executable, "-c", write + "time.sleep(0.2)", str(tmp_path)]
        with subprocess.Popen(command) as process:
            assert crash.wait_for(crash.Aim("cache", times, 0.0), place, [process], 60) == reached
            process.kill()
        assert len(crash.unfinished_entries(place)) == seen
        for folder in tmp_path.iterdir():
            folder.rmdir()
