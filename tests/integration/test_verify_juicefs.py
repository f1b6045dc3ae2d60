"""``verify`` on a JuiceFS mount whose object store is far away, beside what JuiceFS itself says it has."""

import json
import os
import random
import subprocess
import sys

import pytest

from tests.kernel.origin import counting
from tests.servers.juicefs import juicefs, served_folder

SIZES = (8_000, 60_000, 300_000)
FILES = 240


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A volume with a tree, 20 ms before its object store."""
    folder = tmp_path_factory.mktemp("far") / "store"
    folder.mkdir()
    with (
        served_folder(folder) as port,
        counting("127.0.0.1", port) as far,
        juicefs(f"http://127.0.0.1:{far.port}/") as made,
    ):
        for number in range(FILES):
            path = made.mount / "tree" / f"d{number % 8}" / f"f{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(SIZES[number % 3]))
        far.delay_seconds = 0.01
        yield made


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.95])
def test_the_fraction_is_what_juicefs_says_though_it_is_not_asked(volume, tmp_path, fraction):
    """It fetches whole files for a sample, and keeps them only later: neither is taken for warmth."""
    tree = volume.mount / "tree"
    volume.evict()
    names = sorted(tree.glob("*/*"))
    chosen = random.Random(7).sample(names, int(fraction * FILES))
    if chosen:
        (tmp_path / "names").write_text("".join(f"{one}\n" for one in chosen))
        subprocess.run(
            [volume.program, "warmup", "-f", tmp_path / "names"], check=True, capture_output=True, timeout=60
        )
    truth = volume.cached_fraction(tree)
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "verify", tree, "--no-ask", "--json", "--seed", "11"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["method"] == "reads"
    assert found["warm_fraction"] == pytest.approx(truth, abs=0.1)  # what a busy machine does to 5 points
    assert found["interval"][0] - 0.02 <= truth <= found["interval"][1] + 0.02
    assert found["origin_ms"] > 5
