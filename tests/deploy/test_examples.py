"""The Terraform examples, judged by Terraform itself against azurerm's published schema, by a scanner and by cloud-init."""

import dataclasses
import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from cachewarmer.config import VmssSettings, load_settings
from tests.deploy.published_schema import AZURERM, provider_schema
from tests.deploy.scanner import checkov, scan
from tests.deploy.terraform import DEPLOY, programs
from tests.deploy.terraform_offline import EXAMPLES, offline
from tests.servers.need import need

MADE = Path(__file__).with_name("nfs_cache_made.tftest.hcl")
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/config.auto.tfvars"))


@pytest.fixture(scope="module", params=programs())
def terraform(request, tmp_path_factory):
    with offline(tmp_path_factory.mktemp("examples"), request.param) as found:
        yield found


@pytest.fixture
def copy(terraform):
    """A further copy of the nfs-cache example and its modules, to be spoilt; beside the first, so that its paths hold."""
    root = terraform.terraform.with_name("spoilt")
    shutil.copytree(terraform.terraform, root)
    yield root / "examples"
    shutil.rmtree(root)


def test_they_are_what_the_documentation_says():
    """Four, each with its README, and values apart from declarations."""
    assert NAMES == ["existing-cache", "gcp-knfsd", "hpc-cache", "nfs-cache"]
    for name in NAMES:
        assert (EXAMPLES / name / "README.md").exists(), name
        assert 'output "ssh_command"' in (EXAMPLES / name / "outputs.tf").read_text(), name


def test_they_are_formatted(terraform):
    """As ``terraform fmt`` writes them."""
    done = terraform.root(EXAMPLES).run("fmt", "-check", "-recursive", "-diff", "-no-color")
    assert done.code == 0, done.output


@pytest.mark.parametrize("name", NAMES)
def test_terraform_finds_them_valid(terraform, name):
    """Every argument, block, reference and type, of azurerm's resources and of our modules; not even a warning."""
    assert terraform.validate(terraform.examples / name) == ""


@pytest.mark.parametrize("name", NAMES)
def test_their_plans_are_as_stated(terraform, name):
    """All expressions can be computed with the values of ``config.auto.tfvars``, and what each plan states holds."""
    done = terraform.root(terraform.examples / name).run("test", "-no-color")
    assert done.code == 0, done.output
    assert re.search(r"[1-9]\d* passed, 0 failed", done.output)
    assert "Warning" not in done.output, "such as a value for a variable that is not declared"


def test_what_is_made_is_wired_as_stated(terraform):
    """With every value known: outputs, the manager's settings, and who gets which role where."""
    example = terraform.examples / "nfs-cache"
    tests = example / "made"
    tests.mkdir()
    shutil.copy(MADE, tests)
    root = terraform.root(example)
    assert root.run("init", "-backend=false", "-input=false", "-no-color", "-test-directory=made").code == 0
    done = root.run("test", "-no-color", "-test-directory=made")
    shutil.rmtree(tests)
    assert done.code == 0, done.output
    assert "1 passed, 0 failed" in done.output


SPOILT = {
    "an argument that azurerm does not have": (
        "modules/vm/main.tf",
        "  size                       = var.size\n",
        "  size = var.size\n  vm_size = var.size\n",
        "Unsupported argument",
    ),
    "an argument left out that azurerm needs": (
        "modules/vm/main.tf",
        "  size                       = var.size\n",
        "",
        "Missing required argument",
    ),
    "a block that azurerm does not have": (
        "modules/vm/main.tf",
        "  boot_diagnostics {}\n",
        "  boot_diagnostic {}\n",
        "Unsupported block type",
    ),
    "a block left out that azurerm needs": (
        "modules/broker/account.tf",
        "  private_service_connection {\n",
        "  ip_configuration {\n",
        "Insufficient private_service_connection blocks",
    ),
    "an argument within a block that azurerm does not have": (
        "modules/vm/main.tf",
        '    caching              = "ReadWrite"\n',
        '    caching = "ReadWrite"\n    cache = "ReadWrite"\n',
        "Unsupported argument",
    ),
    "one block too many": (
        "modules/vm/main.tf",
        "  boot_diagnostics {}\n",
        "  boot_diagnostics {}\n  boot_diagnostics {}\n",
        "Too many boot_diagnostics blocks",
    ),
    "a value of the wrong type": (
        "modules/broker/account.tf",
        "  shared_access_key_enabled       = false\n",
        "  shared_access_key_enabled = [false]\n",
        "Incorrect attribute value type",
    ),
    "an attribute that azurerm does not give": (
        "modules/vm/outputs.tf",
        "azurerm_linux_virtual_machine.vm.private_ip_address",
        "azurerm_linux_virtual_machine.vm.private_ip",
        "Unsupported attribute",
    ),
    "a value for what only azurerm sets": (
        "modules/vm/main.tf",
        "  size                       = var.size\n",
        '  size = var.size\n  virtual_machine_id = "x"\n',
        "Value for unconfigurable attribute",
    ),
    "a resource that azurerm does not have": (
        "nfs-cache/network.tf",
        'resource "azurerm_nat_gateway" "main"',
        'resource "azurerm_nat_gate" "main"',
        "Invalid resource type",
    ),
    "an argument that our module does not have": (
        "nfs-cache/warm.tf",
        "  maxFileSizeBytes     = ",
        "  max_file_size_bytes = ",
        "Unsupported argument",
    ),
    "an argument left out that our module needs": (
        "nfs-cache/warm.tf",
        "  warm_mount_addresses = module.cache_ready.address\n",
        "",
        "Missing required argument",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_wrong_is_found(terraform, copy, what):
    """The test above can fail: each fault is found, with the example otherwise as it is."""
    path, good, bad, finding = SPOILT[what]
    file = copy / path
    text = file.read_text()
    assert good in text
    file.write_text(text.replace(good, bad, 1))
    assert finding in terraform.validate(copy / "nfs-cache")


def test_the_schema_is_azurerms():
    """A few facts that are in azurerm's documentation, one of each kind that the bindings are read for."""
    schema = provider_schema(
        AZURERM, {"azurerm_linux_virtual_machine", "azurerm_subnet", "azurerm_nothing"}, {"azurerm_client_config"}
    )
    assert set(schema["resource_schemas"]) == {"azurerm_linux_virtual_machine", "azurerm_subnet"}
    machine = schema["resource_schemas"]["azurerm_linux_virtual_machine"]["block"]
    subnet = schema["resource_schemas"]["azurerm_subnet"]["block"]
    client = schema["data_source_schemas"]["azurerm_client_config"]["block"]
    assert machine["attributes"]["size"] == {"type": "string", "required": True, "optional": False}
    assert machine["attributes"]["network_interface_ids"]["type"] == ["list", "string"]
    assert machine["attributes"]["private_ip_addresses"] == {"type": ["list", "string"], "computed": True}
    assert (machine["block_types"]["os_disk"]["min_items"], machine["block_types"]["os_disk"]["max_items"]) == (1, 1)
    assert machine["block_types"]["admin_ssh_key"]["nesting_mode"] == "set"
    assert subnet["attributes"]["service_endpoints"]["type"] == ["set", "string"]
    assert subnet["block_types"]["delegation"]["block"]["block_types"]["service_delegation"]["min_items"] == 1
    assert client["attributes"]["tenant_id"] == {"type": "string", "computed": True}
    assert "features" in schema["provider"]["block"]["block_types"]


@pytest.fixture(scope="module")
def _scanner():
    """Installed, which is not the tests' time."""
    checkov()


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("_scanner")
def test_the_scanner_finds_nothing(tmp_path):
    """In any module or example; what is allowed all the same says why, where it stands."""
    found = scan(EXAMPLES.parent)
    failed = [f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in found["results"]["failed_checks"]]
    assert (failed, found["summary"]["parsing_errors"]) == ([], 0)
    assert found["summary"]["passed"] > 50
    assert all(one["check_result"]["suppress_comment"] for one in found["results"]["skipped_checks"])

    (tmp_path / "main.tf").write_text((EXAMPLES / "modules/broker/account.tf").read_text().replace("TLS1_2", "TLS1_0"))
    spoilt = scan(tmp_path)
    assert "CKV_AZURE_44" in {one["check_id"] for one in spoilt["results"]["failed_checks"]}, "it can fail"


@pytest.mark.parametrize(
    ("name", "module", "allow_internet"),
    [
        ("nfs-cache", "cache_config", True),
        ("nfs-cache", "cache_config", False),
        ("nfs-cache", "filer_config", True),
        ("hpc-cache", "filer_config", True),
    ],
)
def test_cloud_init_takes_what_the_vms_are_given(terraform, tmp_path, name, module, allow_internet):
    """By its own schema; and it says so of something that is wrong."""
    need(shutil.which("cloud-init"), "cloud-init is not installed")
    directory = terraform.examples / name
    assert terraform.validate(directory) == ""
    given = {"ssh_public_key_path": "tests/key.pub", "cachewarmer_path": "versions.tf"}
    if name == "nfs-cache":
        given["allow_internet"] = allow_internet
    text = terraform.root(directory).text(f"module.{module}.text", given)
    assert ("nfs-kernel-server" in text) == allow_internet
    for wrong, config in ((False, text), (True, text.replace('"b64"', '"base32"'))):
        path = tmp_path / f"{wrong}.yaml"
        path.write_text(config)
        done = subprocess.run(
            ["cloud-init", "schema", "--config-file", path], capture_output=True, text=True, timeout=100, check=False
        )
        assert ("Valid" in done.stdout, done.returncode == 0) == (not wrong, not wrong), done.stdout + done.stderr


def test_the_manager_takes_the_settings_that_it_is_given(tmp_path):
    """The text that the test above compares with what is made is a file of settings; the other example has no other keys."""
    stated = re.search(r"settings_toml == <<-EOT\n(.*?)\n +EOT", MADE.read_text(), re.DOTALL)
    file = tmp_path / "manager.toml"
    file.write_text(
        textwrap.dedent(stated[1]).replace('trimspace(file("tests/key.pub"))', "").replace("${}", "ssh-rsa A")
    )
    fleet = load_settings({"CACHEWARMER_CONFIG": str(file)}).fleet.vmss
    assert (fleet.identity, fleet.subnet_name, fleet.allow_internet) == ("/workers", "workers", True)
    assert fleet.vm_sizes.count(",") == 2

    other = re.search(r"\[fleet\.vmss\]\n(.*?)\n +EOT", (EXAMPLES / "hpc-cache/warm.tf").read_text(), re.DOTALL)
    keys = set(re.findall(r"^ +(\w+) =", other[1], re.MULTILINE))
    assert {"identity", "image"} < keys <= {field.name for field in dataclasses.fields(VmssSettings)}


def test_the_manager_may_do_what_the_documentation_says():
    """The role of its own has the actions that docs/fleet.md lists; which identity it may give away is a role on that one."""
    documented = re.search(r'"Actions": (\[.*?\])', (DEPLOY.parent / "docs/fleet.md").read_text(), re.DOTALL)
    roles = (EXAMPLES / "modules/broker/roles.tf").read_text()
    given = json.loads(re.sub(r",\s*\]", "]", re.search(r"actions = (\[.*?\])", roles, re.DOTALL)[1]))
    assert given == [one for one in json.loads(documented[1]) if not one.startswith("Microsoft.ManagedIdentity/")]
    assert 'role_definition_name = "Managed Identity Operator"' in roles
