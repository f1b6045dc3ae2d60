"""The settings of a fleet in the TOML file: one table for every fleet, one within it for a scale set."""

import pytest

from cachewarmer.config import FleetSettings, VmssSettings, load_settings
from cachewarmer.errors import ConfigError


@pytest.fixture
def loaded(tmp_path):
    """Loads a text as the settings file, and returns what it says of the fleet."""

    def load(text):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return load_settings({"CACHEWARMER_CONFIG": str(path)}).fleet

    return load


def test_a_scale_set_has_a_table_of_its_own(loaded):
    """Beside what holds for every kind of fleet."""
    fleet = loaded('[fleet]\nkind = "vmss"\nworkers = 3\n[fleet.vmss]\nmax_price = -1\nimage = "a:b:c:d"\n')
    assert (fleet.kind, fleet.workers, fleet.vmss) == ("vmss", 3, VmssSettings(max_price=-1, image="a:b:c:d"))


def test_a_file_of_an_earlier_version_is_still_read(loaded):
    """Its scale set's settings stand in [fleet]; what [fleet.vmss] says counts more."""
    fleet = loaded('[fleet]\nworkers = 3\nuser_name = "td"\nimage = "old"\n[fleet.vmss]\nimage = "new"\n')
    assert fleet == FleetSettings(workers=3, vmss=VmssSettings(user_name="td", image="new"))


def test_each_key_that_has_moved_is_named_once(loaded, caplog):
    """With the table that it belongs in, however often the file is read; what stands there already is not named."""
    caplog.set_level("WARNING")
    for _ in range(2):
        loaded('[fleet]\nworkers = 3\nuser_name = "td"\nimage = "old"\n[fleet.vmss]\nlocation = "here"\n')
    said = [one.getMessage() for one in caplog.records]
    assert len(said) == 2
    assert all("[fleet.vmss]" in line for line in said)
    assert {
        key for key in ("user_name", "image", "location", "workers") if any(f" {key} " in line for line in said)
    } == {
        "user_name",
        "image",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fleet.vmss]\nvm_size = 'x'\n", r"\[fleet.vmss\] has no setting 'vm_size'"),
        ("[fleet.vmss]\nimage = 3\n", r"\[fleet.vmss\] image can't be 3"),
        ("[fleet]\nvmss = 3\n", r"\[fleet\] vmss can't be 3"),
        ("[fleet]\nvmss = 3\nimage = 'x'\n", r"\[fleet\] .* can't be 3|has no setting 'image'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(loaded, text, said):
    """By the table and the key."""
    with pytest.raises(ConfigError, match=said):
        loaded(text)
