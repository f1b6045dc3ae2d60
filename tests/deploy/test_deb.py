"""The Debian package: made from the single-file program, without a complaint of lintian's, and on a machine with systemd installed,
used, upgraded, removed and purged.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.bundle import bundle
from tests.deploy.node import node
from tests.servers.need import need

ROOT = Path(__file__).parents[2]
NEXT = "99.1"
UNITS = "cachewarmer-manager cachewarmer-worker"
WATCH = "cachewarmer-watch@tree.timer"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The package of this version and one of the next, in one directory."""
    need(shutil.which("dh"), "debhelper is not installed")
    made = tmp_path_factory.mktemp("packages")
    environment = {name: value for name, value in os.environ.items() if name != "DEBEMAIL"}
    environment |= {"PROGRAM": str(bundle()), "OUTPUT": str(made), "PYTHON": sys.executable, "DEBFULLNAME": "Farm & Co"}
    subprocess.run(["sh", ROOT / "deploy/deb/build"], env=environment, check=True, capture_output=True)
    tree = tmp_path_factory.mktemp("next") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", file_of(made), tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub("(?m)^Version: .*", f"Version: {NEXT}", control.read_text()))
    subprocess.run(["dpkg-deb", "-Zxz", "-z0", "--build", tree, made], check=True, capture_output=True)
    return made


def file_of(packages, *, newest=False):
    (found,) = [path for path in packages.glob("*.deb") if (NEXT in path.name) == newest]
    return found


@pytest.mark.timeout(300)
def test_lintian_has_nothing_to_say(packages):
    """No error and no warning; what is overridden has its reason beside it."""
    need(shutil.which("lintian"), "lintian is not installed")
    command = ["lintian", "--allow-root", "--no-cfg", "--fail-on", "error,warning", file_of(packages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_builds_it_answers_for_it(packages):
    """By the variables of Debian's own tools; without an address of theirs it is one that nobody can have."""
    asked = ["dpkg-deb", "--field", file_of(packages), "Maintainer"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    assert said == "Farm & Co <maintainers@cachewarmer.invalid>"


def test_the_manual_page_and_the_completion_know_every_command(packages, tmp_path):
    """And their options, as they are written in a shell; roff's own checks find nothing."""
    subprocess.run(["dpkg-deb", "-x", file_of(packages), tmp_path], check=True)
    page = subprocess.run(
        ["gzip", "-dc", tmp_path / "usr/share/man/man1/cachewarmer.1.gz"], check=True, capture_output=True, text=True
    ).stdout
    for text in (".SS cachewarmer warm TARGET", "\\fB\\-\\-fleet\\-option\\fR", ".SS cachewarmer resume"):
        assert text in page
    completion = tmp_path / "usr/share/bash-completion/completions/cachewarmer"
    assert (tmp_path / "usr/share/zsh/vendor-completions/_cachewarmer").read_text().startswith("#compdef cachewarmer\n")
    assert "-l exit-on-eof" in (tmp_path / "usr/share/fish/vendor_completions.d/cachewarmer.fish").read_text()
    ask = (
        f'. {completion}; COMP_WORDS=(cachewarmer worker --exit); COMP_CWORD=2; _cachewarmer; echo "${{COMPREPLY[@]}}"'
    )
    said = subprocess.run(["bash", "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    assert said == ["--exit-when-idle", "--exit-on-eof"]


@pytest.mark.timeout(300)
def test_from_its_installation_to_its_purge(packages):
    """Nothing starts before it is enabled; an upgrade restarts what runs and keeps what was changed; a purge leaves nothing."""
    with node(binds={packages: "/packages"}) as machine:

        def active():
            return machine.run(f"systemctl is-active {UNITS}", check=False).stdout.split()

        def pids():
            return machine.run(f"systemctl show -P MainPID {UNITS}").stdout.split()

        before = machine.run("ls -A /etc /var/lib /usr/lib /usr/bin").stdout
        machine.run(f"dpkg --install /packages/{file_of(packages).name}")
        assert active() == ["inactive", "inactive"]
        machine.run("id cachewarmer && cachewarmer-jobsubmitter -h && test -x /usr/lib/cachewarmer/backoff")
        machine.run("mkdir -p /srv/tree && for n in 1 2 3; do head -c 10000 /dev/zero >/srv/tree/$n; done")
        machine.run(
            "echo '# changed' >>/etc/cachewarmer/worker.env; echo 'PGPASSWORD=x' >/etc/cachewarmer/worker.secret.env"
        )
        machine.run(f"systemctl enable --quiet --now {UNITS}")
        assert active() == ["active", "active"]
        warm = "runuser -u cachewarmer -- env XDG_STATE_HOME=/var/lib cachewarmer submit --wait /srv/tree"
        assert "3 files" in machine.run(warm).stdout

        # A tree is watched once its name has a file: a round at once, and then by the timer.
        machine.run("echo CACHEWARMER_WATCH_TARGET=/srv/tree >/etc/cachewarmer/watch/tree.env")
        for read in (3, 0):
            machine.run("systemctl start cachewarmer-watch@tree.service")
            said = machine.run("journalctl -t cachewarmer-watch -o cat").stdout.splitlines()
            assert [f"{read} files read" in line for line in said if "files read" in line][-1:] == [True], said
        machine.run(f"systemctl enable --quiet --now {WATCH}")

        first = pids()
        machine.run(f"dpkg --install /packages/{file_of(packages, newest=True).name}")
        assert active() == ["active", "active"]
        assert not set(first) & set(pids())
        machine.run("grep -q '# changed' /etc/cachewarmer/worker.env")
        assert machine.run(f"systemctl is-active {WATCH}").stdout.strip() == "active"

        machine.run("dpkg --remove cachewarmer")
        assert "active" not in active()
        assert machine.run(f"systemctl is-active {WATCH}", check=False).stdout.strip() == "inactive"
        machine.run("test -e /etc/cachewarmer/manager.env && test -e /var/lib/cachewarmer/cachewarmer.db")
        machine.run("dpkg --purge cachewarmer")
        assert machine.run("ls -A /etc /var/lib /usr/lib /usr/bin").stdout == before
        assert machine.run("find /etc/systemd -name 'cachewarmer*'").stdout == ""
