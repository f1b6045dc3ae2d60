import pytest

from cachewarmer.config import PlanSettings, Settings
from cachewarmer.errors import CacheWarmerError, ConnectFailed, MountError, NotAllowed
from cachewarmer.model import Access, Transport, Wanted, WarmJob
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady
from tests.memory import MemorySession, Symlink

ABOVE = {b"proj": {b"a": 1, b"shots": {}}, b"other": {b"b": 1}}


class Server:
    """Trees by address and export; what is missing there can't be mounted."""

    def __init__(self, trees, exports=("/",)):
        self.trees = trees
        self.exports = exports

    async def open(self, mount, settings):
        tree = self.trees.get((mount.address, mount.export or "/"))
        if isinstance(tree, Exception):
            raise tree
        if tree is None:
            raise MountError(f"no export {mount.export}")
        session = MemorySession(tree, mount.address)
        session.export = mount.export or "/"
        session.exported = list(self.exports)
        return session


async def scan(server, path="/proj", addresses=("a",), check=None, **wanted):
    transport = Transport.AUTO if addresses else Transport.LOCAL
    job = WarmJob(
        access=Access(addresses=addresses, transport=transport), wanted=Wanted(**wanted), warm_path=path, job_id="j"
    )
    counter = ScanCounter()
    items = []

    async def emit(batch):
        items.extend(batch)

    async with SessionPool(Settings(), server.open, check=check) as pool:
        sessions = steady(await open_sessions(job, pool), pool)
        await scan_tree(job, sessions, PlanSettings(), counter, emit, pool=pool)
    whole = {
        "/".join(part for part in (item.access.export.strip("/"), item.path.strip("/"), entry.path) if part)
        for item in items
        for entry in item.files
    }
    return whole, counter


async def test_an_export_nested_in_the_target_is_scanned_too():
    server = Server({("a", "/"): ABOVE, ("a", "/proj/shots"): {b"s": {b"in": 7}}}, ["/", "/proj/shots", "/elsewhere"])
    whole, counter = await scan(server)
    assert whole == {"proj/a", "proj/shots/s/in"}
    assert (counter.files, counter.failed_directories) == (2, 0)


async def test_a_nested_export_that_can_not_be_mounted_is_a_failed_directory_and_named():
    whole, counter = await scan(Server({("a", "/"): ABOVE}, ["/", "/proj/shots"]))
    assert whole == {"proj/a"}
    assert counter.failed_directories == 1
    assert counter.errors[0].path == "/proj/shots"
    assert any("/proj/shots" in one for one in counter.warnings)


@pytest.mark.parametrize("pattern", ["shots", "/shots", "shots/"])
async def test_a_nested_export_that_is_excluded_is_not_asked_for(pattern):
    whole, counter = await scan(Server({("a", "/"): ABOVE}, ["/", "/proj/shots"]), exclude=(pattern,))
    assert (whole, counter.failed_directories) == ({"proj/a"}, 0)


async def test_patterns_see_a_nested_export_at_its_place_below_the_target():
    nested = {b"tmp": {b"x": 1}, b"keep": 2}
    server = Server({("a", "/"): ABOVE, ("a", "/proj/shots"): nested}, ["/proj/shots"])
    whole, _ = await scan(server, exclude=("/shots/tmp",))
    assert whole == {"proj/a", "proj/shots/keep"}


async def test_what_the_export_above_shows_is_not_scanned_again():
    """As with crossmnt: the directory seen from above is the root of the nested export."""

    class Crossing(Server):
        async def open(self, mount, settings):
            session = await super().open(mount, settings)
            lookup = session.lookup

            async def with_id(path):
                entry = await lookup(path)
                root = path == (b"" if session.export != "/" else b"proj/shots")
                return entry._replace(file_id=42) if root else entry

            session.lookup = with_id
            return session

    shots = {b"in": 7}
    trees = {("a", "/"): {b"proj": {b"shots": shots}}, ("a", "/proj/shots"): shots}
    whole, counter = await scan(Crossing(trees, ["/", "/proj/shots"]))
    assert (whole, counter.files) == ({"proj/shots/in"}, 1)


async def test_an_export_list_that_can_not_be_had_harms_nothing():
    class Denying(Server):
        async def open(self, mount, settings):
            session = await super().open(mount, settings)

            async def exports():
                raise CacheWarmerError("denied")

            session.exports = exports
            return session

    whole, counter = await scan(Denying({("a", "/"): ABOVE}))
    assert (whole, counter.warnings) == ({"proj/a"}, [])


async def test_an_address_that_could_not_be_used_is_said():
    server = Server({("a", "/"): ABOVE, ("b", "/"): ConnectFailed("refused")})
    _, counter = await scan(server, addresses=("a", "b"))
    assert counter.warnings == ["read through 1 of 2 addresses"]


async def test_what_was_left_out_and_what_matched_nothing_is_said_at_the_end():
    tree = {b"proj": {b".snapshot": {b"f": 1}, b"shots": {b".snapshot": {b"f": 1}}, b"f": 1}}
    _, counter = await scan(Server({("a", "/"): tree}), exclude=("F",))
    matched_nothing, snapshots = counter.warnings
    assert matched_nothing == "--exclude 'F' matched nothing: 'f' would have"
    assert snapshots.startswith(
        "2 snapshot directories left out beside what --exclude 'F' says, such as /proj/.snapshot"
    )
    assert snapshots.endswith("--include-snapshots reads them")


LINKED = {
    b"proj": {b"l": Symlink(b"../secret/f"), b"a": 1},
    b"secret": {b"f": 9},
    b"way": Symlink(b"secret"),
}


def only_proj(mount):
    if not (mount.path + "/").startswith("/proj/"):
        raise NotAllowed(f"{mount.path} is not allowed")


async def test_a_link_leads_to_nothing_that_the_settings_do_not_allow():
    """The target was looked at before anything was opened; what a link leads to was not."""
    whole, counter = await scan(Server({("a", "/"): LINKED}), follow_links=True)
    assert whole == {"proj/a", "secret/f"}
    whole, counter = await scan(Server({("a", "/"): LINKED}), follow_links=True, check=only_proj)
    assert (whole, counter.skipped_files) == ({"proj/a"}, 1)


async def test_a_target_that_is_a_link_leads_to_nothing_that_the_settings_do_not_allow():
    def only_way(mount):
        if mount.path != "/way":
            raise NotAllowed(f"{mount.path} is not allowed")

    whole, _ = await scan(Server({("a", "/"): LINKED}), "/way")
    assert whole == {"secret/f"}
    with pytest.raises(NotAllowed):
        await scan(Server({("a", "/"): LINKED}), "/way", check=only_way)


async def test_a_link_of_this_machine_is_followed_inside_the_target_alone():
    tree = LINKED | {b"proj": {**LINKED[b"proj"], b"m": Symlink(b"a")}}
    whole, counter = await scan(Server({("", "/"): tree}), addresses=(), follow_links=True)
    assert (whole, counter.links, counter.skipped_files) == ({"proj/a"}, 2, 1)
