"""The OCI image: made from the single-file program without a container engine, and run as its user on a read-only root."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cachewarmer import __version__
from tests.deploy.bundle import bundle
from tests.servers.need import need
from tests.servers.postgres import postgres

ROOT = Path(__file__).parents[2]
MOST_BYTES = 60_000_000
RUN = """set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
chmod 1777 "$1/tmp"
root=$1
shift
exec setpriv --no-new-privs /usr/sbin/chroot --userspec=65532:65532 --groups= "$root" "$@"
"""
"""What a container engine does with a root file system, as far as it matters to the program."""


def make(output):
    """The archive."""
    environment = os.environ | {"PROGRAM": str(bundle()), "OUTPUT": str(output), "PYTHON": sys.executable}
    done = subprocess.run(
        ["sh", ROOT / "deploy/image/build"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return output / f"cachewarmer-{__version__}.oci.tar"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    need(shutil.which("umoci"), "umoci is not installed")
    return make(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def layout(archive):
    """The image's files, unpacked from the archive."""
    place = archive.parent / "layout"
    with tarfile.open(archive) as file:
        file.extractall(place, filter="data")
    return place


@pytest.fixture(scope="module")
def image(layout):
    """A function: the JSON of a blob, checked against its name."""

    def blob(descriptor):
        algorithm, _, digest = descriptor["digest"].partition(":")
        raw = (layout / "blobs" / algorithm / digest).read_bytes()
        assert (len(raw), hashlib.new(algorithm, raw).hexdigest()) == (descriptor["size"], digest)
        return json.loads(raw)

    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert descriptor["annotations"]["org.opencontainers.image.ref.name"] == __version__
    manifest = blob(descriptor)
    return manifest, blob(manifest["config"])


@pytest.fixture(scope="module")
def run(layout):
    """A function: runs the image's entry point with these arguments, as its user, with nothing to write to but /tmp."""
    need(os.geteuid() == 0, "chroot needs root")
    place = layout.parent / "unpacked"
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:{__version__}", place], check=True, capture_output=True)

    def runs(*arguments):
        config = json.loads((place / "config.json").read_text())["process"]
        command = [*config["args"][:1], *arguments]
        assert config["user"]["uid"] == config["user"]["gid"] == 65532
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", RUN, "sh", place / "rootfs", *command],
            env=dict(line.split("=", 1) for line in config["env"]),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    runs.root = place / "rootfs"
    return runs


def test_it_is_small_and_says_what_it_is(archive, image):
    """Below 60 MB; a user without rights, and the usual labels."""
    manifest, config = image
    assert archive.stat().st_size < MOST_BYTES
    assert len(manifest["layers"]) == 1
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["/usr/bin/cachewarmer"]
    labels = config["config"]["Labels"]
    for name in ("title", "description", "version", "created", "revision", "licenses"):
        assert f"org.opencontainers.image.{name}" in labels
    assert labels["org.opencontainers.image.version"] == __version__
    (line,) = archive.with_name(archive.name + ".sha256").read_text().splitlines()
    assert line == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}"


def test_it_runs_as_its_user_on_a_read_only_root(run):
    """The whole path of the data: scan, a broker in /tmp, readers."""
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"cachewarmer {__version__}\n"), done.stderr
    done = run("warm", "/usr/share/doc", "--broker", "sqlite:////tmp/b.db", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] >= 3


def test_it_finds_a_server_by_name(run):
    """The C library in it has what that takes."""
    hosts = run.root / "etc/hosts"
    hosts.write_text("127.0.0.1 db.example\n")  # a container engine writes this file
    with postgres() as server:
        url = f"postgresql://warm@db.example:{server.port}/postgres"
        done = run("status", "--broker", url)
    hosts.unlink()
    assert "there is nothing at postgresql://warm@db.example" in done.stderr, done.stderr


def test_there_is_nothing_else_in_it(run):
    """No shell, no interpreter, nothing that gains rights, and nothing that others may change but /tmp."""
    programs = [path for path in run.root.rglob("*") if path.is_file() and os.access(path, os.X_OK)]
    assert {path.name for path in programs if "/bin/" in str(path)} <= {
        "cachewarmer",
        "cachewarmer-manager",
        "cachewarmer-worker",
        "cachewarmer-jobsubmitter",
    }
    for path in run.root.rglob("*"):
        mode = path.lstat().st_mode
        assert not mode & 0o6000, path
        assert path.is_symlink() or path.name == "tmp" or not mode & 0o022, path


def test_all_that_is_in_it_is_listed(run, archive):
    """The program's parts, the C library and the certificates: each with a version, a licence and a hash."""
    text = (run.root / "usr/share/doc/cachewarmer/sbom.cdx.json").read_text()
    assert text == archive.with_name("image.sbom.cdx.json").read_text()
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["metadata"]["component"]["type"]) == ("CycloneDX", "container")
    parts = {one["name"]: one for one in bill["components"]}
    assert {"glibc", "zlib1g", "ca-certificates", "openssl", "psycopg-binary"} <= set(parts)
    library = (run.root / "lib/x86_64-linux-gnu/libc.so.6").read_bytes()
    assert parts["glibc"]["hashes"][0]["content"] == hashlib.sha256(library).hexdigest()
    assert all(one["version"] and one["licenses"] and one["hashes"] for one in parts.values())


def test_the_same_program_makes_the_same_image(archive, tmp_path):
    assert make(tmp_path).read_bytes() == archive.read_bytes()
