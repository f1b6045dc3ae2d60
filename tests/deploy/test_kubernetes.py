"""The manifests for Kubernetes, without a cluster: against the published schemas of Kubernetes and of KEDA, what the pods may do, and
the query that KEDA counts with, run by a real PostgreSQL with this program's own tables.
"""

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.model import JobState
from tests.conformance.labs import a_job, items_of
from tests.servers.need import need
from tests.servers.ports import cache_directory, locked
from tests.servers.postgres import postgres

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
SCHEMAS = ("@kubernetes-models/keda@2.0.0", "kubernetes-models@5.1.0", "yaml@2.9.1")
KINDS = ("postgres", "azure")


@pytest.fixture(scope="session")
def modules():
    """The schemas, and what reads YAML: installed into the cache directory with npm when they are not there yet."""
    need(shutil.which("node") and shutil.which("npm"), "the schemas need node and npm")
    place = cache_directory() / "kubernetes-models-5.1.0"
    with locked("kubernetes-models"):
        if not (place / "complete").exists():
            place.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--silent"]
            for _ in range(3):  # a registry may have a bad moment
                done = subprocess.run([*command, *SCHEMAS], cwd=place, capture_output=True, check=False)
                if done.returncode == 0:
                    break
            need(done.returncode == 0, f"npm could not install {' '.join(SCHEMAS)}")
            (place / "complete").touch()
    return place / "node_modules"


def check(modules, text):
    """What is wrong with the documents of a text, and the documents."""
    program = Path(__file__).with_name("kubernetes_schemas.mjs")
    done = subprocess.run(["node", program, modules], input=text, capture_output=True, text=True, check=False)
    return done.stderr, json.loads(done.stdout)


def text_of(modules, folder):
    """All that a kustomization names, as kustomize puts it together."""
    _, (customized,) = check(modules, (folder / "kustomization.yaml").read_text())
    assert set(customized) <= {"apiVersion", "kind", "resources", "images"}
    parts = []
    for name in customized["resources"]:
        path = (folder / name).resolve()
        parts.append(text_of(modules, path) if path.is_dir() else path.read_text())
    return "\n---\n".join(parts)


@pytest.fixture(params=KINDS)
def documents(request, modules):
    wrong, found = check(modules, text_of(modules, DEPLOY / request.param))
    assert wrong == ""
    return found


def pods(documents):
    """The pod of each workload."""
    for one in documents:
        if one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]
        elif one["kind"] == "ScaledJob":
            yield one["spec"]["jobTargetRef"]["template"]["spec"]


def test_the_check_finds_what_is_wrong(modules):
    """A wrong type, and a name that the schema does not have, at any depth; or the tests below say nothing."""
    text = text_of(modules, DEPLOY / "postgres")
    for right, wrong in (
        ("minReplicaCount: 0", "minReplicaCount: x"),
        ("backoffLimit", "backofLimit"),
        ("drop:", "dorp:"),
    ):
        assert wrong.partition(":")[0] in check(modules, text.replace(right, wrong))[0]


def test_every_manifest_is_of_its_schema_and_in_the_namespace(documents):
    """Manager, worker and what they need: nothing that grants a right."""
    kinds = sorted(one["kind"] for one in documents)
    assert kinds == [
        "ConfigMap",
        "Deployment",
        "Namespace",
        "NetworkPolicy",
        "ScaledJob",
        *["ServiceAccount"] * 2,
        "TriggerAuthentication",
    ]
    assert all(one["metadata"].get("namespace") == "cachewarmer" for one in documents if one["kind"] != "Namespace")
    names = {one["metadata"]["name"] for one in documents if one["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in pods(documents)} == names
    keda = next(one for one in documents if one["kind"] == "ScaledJob")
    scaler = next(one for one in documents if one["kind"] == "TriggerAuthentication")
    assert [one["authenticationRef"]["name"] for one in keda["spec"]["triggers"]] == [scaler["metadata"]["name"]]


def test_the_pods_may_do_no_more_than_read_and_use_the_network(documents):
    """What the restricted standard asks for, and a root file system that is read-only."""
    for pod in pods(documents):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all({"configMap", "emptyDir"} & volume.keys() for volume in pod["volumes"])
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert [source["secretRef"]["name"] for source in container["envFrom"]] == ["cachewarmer-broker"]
    assert not any("password" in json.dumps(one).lower() or one["kind"] == "Secret" for one in documents)


def test_a_worker_is_given_time_to_hand_back_what_it_holds(documents):
    """And ends by itself: nothing here ever stops one in the middle."""
    settings = next(one for one in documents if one["kind"] == "ConfigMap")["data"]["settings.toml"]
    drain = int(re.search(r"drain_seconds = (\d+)", settings)[1])
    for pod in pods(documents):
        assert pod["terminationGracePeriodSeconds"] > drain
    worker = next(one for one in documents if one["kind"] == "ScaledJob")["spec"]
    assert "--exit-when-idle" in worker["jobTargetRef"]["template"]["spec"]["containers"][0]["args"]
    assert worker["rollout"]["strategy"] == "gradual"
    assert worker["minReplicaCount"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_kustomize_builds_it(modules, kind):
    """With the image's name put in everywhere; for a kubectl whose kustomize takes directories as resources."""
    done = (
        subprocess.run(["kubectl", "kustomize", DEPLOY / kind], capture_output=True, text=True, check=False)
        if shutil.which("kubectl")
        else None
    )
    if done is None or "must be a file" in done.stderr:
        pytest.skip("no kubectl with kustomize of 3.0 or newer")
    assert done.returncode == 0, done.stderr
    wrong, found = check(modules, done.stdout)
    assert wrong == ""
    assert {pod["containers"][0]["image"] for pod in pods(found)} == {"registry.example/cachewarmer:0.1.0"}


async def test_keda_counts_what_waits_and_may_do_nothing_else(modules):
    """The query as it stands, by the user that the README makes: items that wait, not those that a worker holds or of a paused job."""
    import psycopg

    _, documents = check(modules, text_of(modules, DEPLOY / "postgres"))
    (trigger,) = next(one for one in documents if one["kind"] == "ScaledJob")["spec"]["triggers"]
    grants = re.search(r"```sql\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)[1]
    with postgres() as server:
        async with PostgresBroker(server.url) as broker:
            password = secrets.token_hex(8)
            async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
                await connection.execute(grants.replace("…", password))
            scaler = server.url.replace("warm@", f"scaler:{password}@")
            async with await psycopg.AsyncConnection.connect(scaler, autocommit=True) as connection:

                async def counted():
                    return (await (await connection.execute(trigger["metadata"]["query"])).fetchone())[0]

                assert await counted() == 0
                job_id = await broker.submit(a_job())
                await broker.claim_job(60)
                await broker.set_state(job_id, JobState.SCANNING)
                await broker.publish(items_of(job_id, 5))
                assert await counted() == 5
                assert len(await broker.claim(2, 60)) == 2
                assert await counted() == 3
                await broker.set_state(job_id, JobState.PAUSED)
                assert await counted() == 0
                for statement in ("DELETE FROM cachewarmer.items", "SELECT * FROM cachewarmer.poison"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        await connection.execute(statement)
