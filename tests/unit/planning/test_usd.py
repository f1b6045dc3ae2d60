"""What a scene of USD is made of, looked up on this machine."""

import importlib.util
import json
import subprocess
import sys

import pytest

from cachewarmer.errors import UsageError
from cachewarmer.planning.filelist import scene_chunks
from cachewarmer.planning.listline import Named, named
from cachewarmer.planning.usd import check_usd
from cachewarmer.planning.usd_layers import NOT_THERE

pytest.importorskip("pxr", reason="the extra usd is not installed")

ROOT = """#usda 1.0
(
    subLayers = [@./sub.usda@, @./no layer.usda@, @./broken.usda@]
)
def Xform "A" (
    prepend references = @./ref.usda@</R>
    prepend payload = @./pay.usda@</R>
) {
}
def Xform "C" (
    clips = {
        dictionary default = {
            string templateAssetPath = "./clips/c.###.usda"
            double templateStartTime = 1
            double templateEndTime = 3
            double templateStride = 1
            asset manifestAssetPath = @./clips/manifest.usda@
            string primPath = "/R"
        }
    }
) {
}
def Xform "V" (
    variants = {
        string look = "plain"
    }
    prepend variantSets = "look"
) {
    variantSet "look" = {
        "gold" {
            asset inputs:file = @./tex/gold.png@
        }
        "plain" {
        }
    }
}
"""
REF = """#usda 1.0
def Xform "R" {
    asset inputs:file = @./tex/skin.<UDIM>.png@
    asset inputs:package = @./prop.usdz@
    asset inputs:windows = @P:\\tex\\wall.png@
    asset inputs:gone = @./tex/gone.<UDIM>.png@
    asset inputs:root = @./root.usda@
}
"""
EMPTY = '#usda 1.0\ndef Xform "R" {\n}\n'
FILES = {
    "root.usda": ROOT,
    "sub.usda": EMPTY,
    "broken.usda": "#usda 1.0\nnonsense\n",
    "ref.usda": REF,
    "pay.usda": EMPTY,
    "clips/c.001.usda": EMPTY,
    "clips/c.002.usda": EMPTY,
    "clips/manifest.usda": EMPTY,
    "tex/gold.png": "",
    "tex/skin.1001.png": "",
    "tex/skin.1012.png": "",
    "tex/skin.note.png": "",
    "prop.usdz": "",
    "shared/wall.png": "",
    "unused.usda": EMPTY,
}


@pytest.fixture
def scene(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


async def test_a_scene_is_its_layers_and_assets_and_names_what_is_missing(scene):
    """Through a mount with another name than the export's; paths of Windows are found by the same rules."""
    maps = [f"P:\\tex={scene}/shared", f"{scene}=/projects/shot"]
    chunks = [chunk async for chunk in scene_chunks(str(scene / "root.usda"), maps)]
    lines = [named(line) for chunk in chunks for line in chunk.split(b"\0")[:-1]]
    found = [line.path.decode() for line in lines if not line.problem]
    assert sorted(found) == sorted(f"/projects/shot/{name}" for name in {*FILES} - {"unused.usda", "tex/skin.note.png"})
    assert found[0] == "/projects/shot/root.usda"
    missing = {line for line in lines if line.problem}
    assert missing == {
        Named(f"{scene}/no layer.usda".encode(), problem=NOT_THERE),
        Named(f"{scene}/tex/gone.<UDIM>.png".encode(), problem=NOT_THERE),
        Named(f"{scene}/broken.usda".encode(), problem="the layer can't be read: what it names is not known"),
    }


def test_a_scene_that_lacks_something_ends_with_exit_code_3(scene):
    """One that is complete ends with 0; nothing of what OpenUSD says itself is shown."""
    for name, code, files in (("ref.usda", 3, 4), ("sub.usda", 0, 1)):
        done = subprocess.run(
            [sys.executable, "-m", "cachewarmer", "scan", str(scene), "--usd", str(scene / name), "--json",
             "--map", f"P:\\={scene}/nowhere", "--exclude", "root.usda", "--exclude", "*.png"][: -4 if code == 0 else None],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (code, "")
        report = json.loads(done.stdout)
        if code:
            named_as_missing = {one["path"] for one in report["errors"]}
            assert {"P:\\tex\\wall.png", f"{scene}/tex/gone.<UDIM>.png"} <= named_as_missing
        else:
            assert report["files"] == files


@pytest.mark.parametrize(("name", "said"), [("gone.usda", "No such file"), ("tex/gold.png", "not a file of USD")])
def test_what_is_no_scene_is_told_in_one_line(scene, name, said):
    with pytest.raises(UsageError, match=said) as told:
        check_usd(str(scene / name))
    assert "\n" not in str(told.value)


def test_a_missing_extra_is_told_in_one_line(scene, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"cachewarmer\[usd\]"):
        check_usd(str(scene / "root.usda"))
