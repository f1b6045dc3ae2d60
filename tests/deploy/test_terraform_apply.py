"""``terraform apply`` on a machine with systemd and sshd, against Azurite and NFS-Ganesha: what comes, stays and goes."""

import hashlib
import json
import shutil

import pytest

from tests.deploy.bundle import bundle
from tests.deploy.chain import (
    MANAGER,
    PREPARE,
    SUBMIT,
    by_key,
    chained,
    listing,
    make_tree,
    nothing_left,
    status,
    storage,
)
from tests.deploy.node import node, quoted
from tests.deploy.terraform import Configuration, Expression, programs

FOLDER = {"bootstrap_export_path": "/srv/share"}
ODD = """it's "odd" \\ $HOME `id` ${x} %{y} /a b/"""
ODD_PASSWORD = """p"w$'`\\ x"""


@pytest.fixture(scope="module")
def machine():
    """A node. Its user ops may sudo with no password, pat only with one."""
    with node() as started:
        started.run(
            "useradd --create-home --shell /bin/bash pat; useradd --create-home --shell /bin/bash nobody-special\n"
            "echo 'pat ALL=(ALL) ALL' >/etc/sudoers.d/pat; chpasswd",
            stdin=f"pat:{ODD_PASSWORD}\nnobody-special:{ODD_PASSWORD}",
        )
        yield started


@pytest.fixture
def account(azurite_connection):
    """The arguments that name the storage account and sign in to it."""
    return storage(azurite_connection, "tf")


@pytest.fixture(params=programs())
def configuration(request, tmp_path):
    return Configuration(tmp_path, request.param)


def by_password(machine, user, password):
    """The arguments that sign in with a password."""
    return by_key(machine, user) | {"jumpbox_password": password, "ssh_private_key_path": "/no/such/key"}


def pids(machine):
    return machine.run("systemctl show -P MainPID cachewarmer-manager cachewarmer-worker").stdout.split()


@pytest.mark.timeout(600)
def test_the_four_modules_from_nothing_to_warm_and_back(
    machine, configuration, account, nfs_server, nfs_root, tmp_path
):
    """The job is warm when apply returns; each change touches what it is about; at the end the machine is as before."""
    make_tree(nfs_root / "it's $HOME", 30)
    make_tree(nfs_root / "second", 7)
    program = tmp_path / "cachewarmer"
    shutil.copy(bundle(), program)
    given = {"prepare_bootstrapdir": {"cachewarmer_path": str(program)}}
    paths = {nfs_server.export: ["/it's $HOME"]}

    with nothing_left(machine, configuration):
        configuration.write(
            chained(
                machine,
                account,
                nfs_server,
                folder=FOLDER,
                **given,
                submitjobs={"warm_paths": paths, "exclusion_csv": "f29"},
            )
        )
        done = configuration.apply()
        assert done.code == 0, done.output
        assert done.counts == (8, 0, 0)
        jobs = status(account)["jobs"]
        assert [(job["state"], job["files"], job["bytes"], job["excluded_files"]) for job in jobs] == [
            ("completed", 29, 29000, 1)
        ]
        assert "it's $HOME: completed" in done.output
        assert "29 files, 28.3 KiB in 1 directory" in done.output
        assert [worker["files"] for worker in status(account, jobs[0]["job"])["workers"]] == [29]
        services = machine.run("systemctl is-active cachewarmer-manager cachewarmer-worker", check=False).stdout
        assert services.split() == ["active", "active"]
        assert configuration.output(MANAGER)["service"] == "cachewarmer-manager.service"
        assert configuration.output(SUBMIT)["jobs"] == [{"export": nfs_server.export, "path": "/it's $HOME"}]
        first = pids(machine)

        # Nothing changed: nothing is done.
        assert configuration.apply().counts == (0, 0, 0)

        # One more path is one more job; a module's own settings concern that module.
        paths[nfs_server.export].append("/second")
        wanted = given | {"submitjobs": {"warm_paths": paths, "exclusion_csv": "f29"}}
        configuration.write(chained(machine, account, nfs_server, folder=FOLDER, **wanted))
        assert configuration.apply().counts == (1, 0, 1)
        assert sorted(job["files"] for job in status(account)["jobs"]) == [7, 29]
        assert pids(machine) == first
        wanted["worker_install"] = {"workers_per_host": 2}
        configuration.write(chained(machine, account, nfs_server, folder=FOLDER, **wanted))
        assert configuration.apply().counts == (1, 0, 1)
        services = machine.run(
            "systemctl is-active cachewarmer-worker@1 cachewarmer-worker@2 cachewarmer-worker", check=False
        )
        assert services.stdout.split() == ["active", "active", "inactive"]
        assert pids(machine)[0] == first[0]

        # A newer program goes into the folder and from there to both; what is warm is not warmed again.
        with program.open("ab") as file:
            file.write(b"\0")
        done = configuration.apply()
        assert done.counts == (3, 0, 3), done.output
        assert machine.run("sha256sum </usr/local/bin/cachewarmer").stdout == sha256(program)
        assert pids(machine)[0] != first[0]
        assert len(status(account)["jobs"]) == 2

        # Asked for, the same is warmed again.
        wanted["submitjobs"] = wanted["submitjobs"] | {"warm_trigger": "monday"}
        configuration.write(chained(machine, account, nfs_server, folder=FOLDER, **wanted))
        assert configuration.apply().counts == (1, 0, 1)
        assert len(status(account)["jobs"]) == 4


def sha256(path):
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  -\n"


@pytest.mark.timeout(600)
def test_odd_values_arrive_as_they_are_and_secrets_where_nobody_looks(machine, configuration, account):
    """For a user who must give a password to sudo. Not in the output, the process list, a readable file, or left behind."""
    # What was written to files of systemd is what the process gets; the script runs in /opt/odd's folder.
    share = "/opt/it's $odd"
    ssh = by_password(machine, "pat", ODD_PASSWORD)
    machine.run(f"mkdir -p {quoted(share)}")
    folder = {**ssh, "bootstrap_export_path": share, "bootstrap_subdir": "/a b/c"}
    manager = {
        **ssh,
        **account,
        "bootstrap_export_path": Expression(f"module.{PREPARE}.bootstrap_export_path"),
        "bootstrap_manager_script_path": Expression(f"module.{PREPARE}.cachewarmer_manager_bootstrap_script_path"),
        "bootstrap_worker_script_path": "/" + ODD,
        "vmss_worker_count": 0,
        "vmss_user_name": "o'brien",
        "vmss_password": ODD_PASSWORD + "vmss",
        "vmss_subnet_name": ODD,
        "settings_toml": f"[fleet.vmss]\nuser_name = '''{ODD}'''\n",
    }
    with nothing_left(machine, configuration):
        spy = machine.run(
            "(while sleep 0.02; do cat /proc/[0-9]*/cmdline; done >/run/seen) </dev/null >/dev/null 2>&1 & echo $!"
        )
        configuration.write({PREPARE: {**folder, "cachewarmer_path": str(bundle())}, MANAGER: manager})
        done = configuration.apply()
        assert done.code == 0, done.output
        held = machine.run("tr '\\0' '\\n' </proc/$(systemctl show -P MainPID cachewarmer-manager)/environ").stdout
        variables = dict(line.split("=", 1) for line in held.splitlines() if "=" in line)
        assert variables["BOOTSTRAP_SCRIPT"] == "/" + ODD
        assert variables["VMSS_USERNAME"] == "o'brien"
        assert variables["VMSS_PASSWORD"] == ODD_PASSWORD + "vmss"
        assert variables["VMSS_SUBNET"] == ODD
        assert machine.run("cat /etc/cachewarmer/manager.toml").stdout.strip() == manager["settings_toml"].strip()

        machine.run(f"kill {spy.stdout}")
        seen = machine.run("tr '\\0' ' ' </run/seen; rm /run/seen", check=False).stdout
        assert "/.cachewarmer-manager/script" in seen
        key = account["storage_connection_string"].partition("AccountKey=")[2].partition(";")[0]
        for secret in (key, ODD_PASSWORD):
            assert secret not in seen
            assert secret not in done.output
            assert secret not in machine.run("journalctl --no-pager").stdout
        state = (configuration.directory / "terraform.tfstate").read_text()
        assert key not in state
        assert json.dumps(ODD_PASSWORD + "vmss")[1:-1] not in state
        assert (
            machine.run(
                "find / -xdev -perm /o=r -type f -newer /etc/cachewarmer -print0 | xargs -0 grep -lF -e "
                f"{quoted(key)} 2>/dev/null",
                check=False,
            ).stdout
            == ""
        )
        assert machine.run("ls -A /home/pat").stdout == machine.run("ls -A /etc/skel").stdout
    machine.run(f"rmdir {quoted(share)}")


def test_it_goes_through_a_bastion(machine, configuration):
    """The node is called by a name that only the bastion knows; root signs in with the key itself."""
    ssh = by_key(machine, "root") | {
        "jumpbox_address": "node",
        "ssh_private_key_path": "/no/such/key",
        "ssh_private_key": machine.key_path.read_text(),
        "bastion_address": machine.address,
        "bastion_ssh_port": machine.ssh_port,
        "bastion_username": "ops",
    }
    with nothing_left(machine, configuration):
        configuration.write(
            {PREPARE: {**ssh, "bootstrap_export_path": "/srv/far", "cachewarmer_node_path": "/bin/true"}}
        )
        done = configuration.apply()
        assert done.code == 0, done.output
        assert "prepared /srv/far/bootstrap" in done.output


def test_a_key_goes_before_a_password(machine, configuration):
    """Where the public key is named, as with the first CacheWarmer, the one in ~/.ssh/id_rsa signs in; a download says its source."""
    home = configuration.directory / ".ssh"
    home.mkdir()
    shutil.copy(machine.key_path, home / "id_rsa")
    ssh = {name: value for name, value in by_key(machine).items() if name != "ssh_private_key_path"}
    ssh |= {"jumpbox_ssh_key_data": machine.key_path.with_suffix(".pub").read_text(), "jumpbox_password": "wrong"}
    with nothing_left(machine, configuration):
        source = "https://releases.invalid/cachewarmer"
        configuration.write({PREPARE: {**ssh, "bootstrap_export_path": "/srv/got", "cachewarmer_url": source}})
        done = configuration.apply()
        assert done.code == 1
        assert f"node has neither curl nor wget to download {source} with" in done.output


def test_a_host_that_is_another_is_refused(machine, configuration):
    """When the host key is given, it must be the node's."""
    ssh = by_key(machine) | {"ssh_timeout": "3s"}
    keys = {name: machine.run(f"cat /etc/ssh/ssh_host_{name}_key.pub").stdout for name in ("ecdsa", "ed25519")}
    other = machine.key_path.with_suffix(".pub").read_text()
    arguments = {**ssh, "bootstrap_export_path": "/srv/known", "cachewarmer_node_path": "/bin/true"}
    configuration.write({PREPARE: arguments | {"ssh_host_key": other}})
    assert configuration.apply().code == 1
    with nothing_left(machine, configuration):
        configuration.write({PREPARE: arguments | {"ssh_host_key": keys["ecdsa"]}})
        done = configuration.apply()
        assert done.code == 0, done.output


def test_only_what_was_put_into_a_folder_is_taken_out_of_it(machine, configuration):
    """A directory that was there stays, with what others put into it; one that is named anew is left for the other."""
    machine.run("mkdir -p /srv/used/bootstrap; echo mine >/srv/used/bootstrap/mine")
    with nothing_left(machine, configuration):
        arguments = {**by_key(machine), "bootstrap_export_path": "/srv/used", "cachewarmer_node_path": "/bin/true"}
        configuration.write({PREPARE: arguments})
        assert configuration.apply().code == 0
        assert "SHA256SUMS" in machine.run("ls /srv/used/bootstrap").stdout
        configuration.write({PREPARE: arguments | {"bootstrap_subdir": "/other"}})
        assert configuration.apply().counts == (2, 0, 2)
        assert machine.run("ls -A /srv/used/bootstrap").stdout == "mine\n"
        assert "SHA256SUMS" in machine.run("ls /srv/used/other").stdout
    machine.run("rm -r /srv/used")


@pytest.mark.timeout(600)
def test_a_job_that_ends_with_errors_fails_the_apply_with_its_reason(
    machine, configuration, account, nfs_server, nfs_root
):
    """Read as somebody else than root, who may read anything here. It names the file. What failed is posted again by the next apply, which does not fail when it waits for nothing."""
    make_tree(nfs_root / "locked", 3)
    (nfs_root / "locked/f1").chmod(0)
    given = {"prepare_bootstrapdir": {"cachewarmer_path": str(bundle())}}
    account = account | {"queue_name_prefix": "tf-errors"}
    somebody = {"warm_uid": 65534, "warm_gid": 65534}
    job = {"warm_target_export_path": nfs_server.export, "warm_target_path": "/locked", **somebody}
    with nothing_left(machine, configuration):
        configuration.write(chained(machine, account, nfs_server, folder=FOLDER, **given, submitjobs=job))
        done = configuration.apply()
        assert done.code == 1
        assert "completed with errors" in done.output
        assert "1 failed" in done.output
        assert "locked/f1: " in done.output
        assert "NFS3ERR_ACCES" in done.output
        configuration.write(
            chained(machine, account, nfs_server, folder=FOLDER, **given, submitjobs=job | {"block_until_warm": False})
        )
        assert configuration.apply().counts == (1, 0, 1)
        assert [job["state"] for job in status(account)["jobs"]].count("completed_with_errors") >= 1
        assert len(status(account)["jobs"]) == 2


def bare(machine, **more):
    """The manager, from a folder of its own."""
    folder = {**by_key(machine), "bootstrap_export_path": "/srv/failing", "cachewarmer_path": str(bundle())}
    manager = {
        **by_key(machine),
        "bootstrap_export_path": Expression(f"module.{PREPARE}.bootstrap_export_path"),
        "storage_account": "nosuchaccount",
        "queue_name_prefix": "prefix",
        "vmss_worker_count": 0,
    }
    return {PREPARE: folder, MANAGER: manager | more}


FAILURES = [
    pytest.param(
        lambda machine: {PREPARE: bare(machine)[PREPARE] | {"bootstrap_mount_address": "127.0.0.1"}},
        ["node has no NFS client (mount.nfs)", "install_nfs_client = true"],
        id="no NFS client",
    ),
    pytest.param(
        lambda machine: {PREPARE: bare(machine)[PREPARE] | {"cachewarmer_sha256": "0" * 64}},
        ["the program's SHA-256 is not 000"],
        id="another program",
    ),
    pytest.param(
        lambda machine: {MANAGER: bare(machine)[MANAGER] | {"bootstrap_export_path": "/srv/empty"}},
        ["/srv/empty has no /bootstrap/bootstrap.cachewarmer-manager.sh", "prepare the bootstrap folder first"],
        id="no folder",
    ),
    pytest.param(
        lambda machine: bare(machine, storage_connection_string="AccountName=x;AccountKey=eA==;QueueEndpoint=nonsense"),
        ["cachewarmer-manager.service did not start", "the connection string is for the account x"],
        id="the service does not start",
    ),
    pytest.param(
        lambda machine: {
            SUBMIT: {
                **by_key(machine),
                "storage_account": "nosuchaccount",
                "queue_name_prefix": "prefix",
                "warm_mount_addresses": "cache",
                "warm_paths": {"/data": ["/"]},
            }
        },
        ["node has no /usr/local/bin/cachewarmer-jobsubmitter", "install the manager or a worker"],
        id="nothing installed",
    ),
]


@pytest.mark.parametrize(("modules", "said"), FAILURES)
def test_a_failure_says_why_and_what_it_left_is_destroyed(machine, configuration, modules, said):
    """Also an installation that failed half done."""
    configuration.write(modules(machine))
    before = listing(machine)
    done = configuration.apply()
    assert done.code == 1, done.output
    output = " ".join(done.output.split())
    for text in said:
        assert text in output
    done = configuration.destroy()
    assert done.code == 0, done.output
    assert listing(machine) == before


NO_ENTRY = [
    pytest.param("ops", "wrong", "unable to authenticate", id="wrong password"),
    pytest.param(
        "nobody-special", ODD_PASSWORD, "nobody-special can't become root on node with sudo", id="may not sudo"
    ),
]


@pytest.mark.parametrize(("user", "password", "said"), NO_ENTRY)
def test_who_may_not_come_in_is_told_so_and_can_be_corrected(machine, configuration, user, password, said):
    """The other way of signing in is taken in place, and what it destroys is the same."""
    with nothing_left(machine, configuration):
        folder = bare(machine)[PREPARE]
        configuration.write({PREPARE: folder | by_password(machine, user, password) | {"ssh_timeout": "12s"}})
        done = configuration.apply()
        assert done.code == 1
        assert said in done.output
        configuration.write({PREPARE: folder | by_password(machine, "pat", ODD_PASSWORD)})
        assert configuration.apply().counts == (1, 1, 1)
        configuration.write({PREPARE: folder})
        assert configuration.apply().counts == (0, 1, 0)


def test_no_such_account(machine, configuration, account):
    """The name is right as a name, but nothing answers to it: apply says so before long, and nothing stays."""
    with nothing_left(machine, configuration):
        configuration.write(bare(machine, storage_key="eA=="))
        done = configuration.apply()
        assert done.code == 1
        assert "nosuchaccount" in done.output
