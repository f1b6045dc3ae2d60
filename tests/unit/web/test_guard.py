"""Who may look, and who may act."""

import asyncio

import pytest

from cachewarmer.errors import UsageError
from cachewarmer.web import HttpSettings
from cachewarmer.web.api import MOST_STREAMS
from tests.unit.web.conftest import TOKEN

ACTIONS = ("pause", "resume", "cancel", "limit", "verify")
SUBMISSION = {"targets": ["nfs://cache1/data"]}


@pytest.mark.parametrize(
    "text", ["8750", "127.0.0.1", "127.0.0.1:x", ":8750", "127.0.0.1:65536", "::1:8750", "127.0.0.1:٣"]
)
def test_an_address_that_is_none_is_refused(text):
    """In one line, before anything is opened."""
    with pytest.raises(UsageError, match="--http"):
        HttpSettings.of(text)


@pytest.mark.parametrize("text", ["0.0.0.0:8750", "10.1.2.3:8750", "[::]:8750", "farm.example:8750"])
def test_an_address_that_others_reach_needs_a_token(text):
    """A name is taken for such an address, wherever it leads now."""
    with pytest.raises(UsageError, match="a token is needed"):
        HttpSettings.of(text)
    assert HttpSettings.of(text, token=TOKEN).token == TOKEN


@pytest.mark.parametrize("token", ["short", "with a space in the middle", "é" * 20])
def test_a_poor_token_is_refused(token):
    """Short ones are guessed; others do not survive a header."""
    with pytest.raises(UsageError, match="token"):
        HttpSettings.of("127.0.0.1:0", token=token)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]"])
async def test_a_foreign_host_is_refused(site, host):
    """Else a name that is pointed at us lets its owner's page read ours."""
    for path in ("/", "/api/v1/jobs", "/api/v1/session"):
        assert (await site.ask("GET", path, headers={"Host": host}))[0] == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8750", "farm.example"])
async def test_our_own_names_are_served(site_of, host):
    """Those of the loopback interface, and those that --http-host gives."""
    async with site_of(names=("Farm.example",)) as site:
        assert (await site.ask("GET", "/", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_foreign_origin_is_refused(site, headers):
    """With the right token, too."""
    given = {**headers, "Authorization": f"Bearer {site.token}"}
    assert (await site.ask("POST", "/api/v1/jobs", json=SUBMISSION, headers=given))[0] == 403
    assert (await site.ask("GET", "/api/v1/session", headers=headers))[0] == 403


async def test_the_own_origin_may_act(site):
    """As a browser sends it."""
    given = {"Origin": site.base, "Authorization": f"Bearer {site.token}"}
    assert (await site.ask("POST", "/api/v1/jobs", json=SUBMISSION, headers=given))[0] == 201


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", "Bearer \xff"])
async def test_nothing_is_changed_without_the_token(site, given):
    """Also where everybody on the machine may look."""
    headers = {"Authorization": given} if given else {}
    for path in ("/jobs", *(f"/jobs/j1/{action}" for action in ACTIONS)):
        status, said, answer = await site.ask("POST", f"/api/v1{path}", json=SUBMISSION, headers=headers)
        assert (status, list(said)) == (401, ["error"])
        assert answer["WWW-Authenticate"] == "Bearer"
    assert (await site.ask("GET", "/api/v1/jobs"))[1] == {"jobs": []}


async def test_with_a_token_nobody_looks_without_it(site_of):
    """The page itself holds nothing secret; all of the API does."""
    async with site_of(token=TOKEN) as site:
        assert (await site.ask("GET", "/"))[0] == 200
        for path in ("jobs", "session", "events", "workers", "fleet", "openapi.json", "nothing"):
            assert (await site.ask("GET", f"/api/v1/{path}"))[0] == 401
        assert (await site.ask("GET", "/api/v1/session", headers={"Authorization": f"Bearer {TOKEN}"}))[1][
            "token"
        ] == ""


async def test_get_changes_nothing(site):
    """What acts answers to POST alone."""
    job = (await site.act("/jobs", SUBMISSION))[1]["job"]
    for action in ACTIONS:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            headers = {"Authorization": f"Bearer {site.token}"}
            assert (await site.ask(method, f"/api/v1/jobs/{job}/{action}", headers=headers))[0] == 405
    assert (await site.ask("GET", f"/api/v1/jobs/{job}"))[1]["state"] == "queued"


@pytest.mark.parametrize(
    "path", ["/../server.py", "/%2e%2e/server.py", "/uplot/..%2f..%2fserver.py", "//etc/passwd", "/uplot/", "/.."]
)
async def test_no_path_leads_out_of_the_pages_files(site, path):
    """Only names that are shipped are known."""
    raw = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(raw.encode())
    answer = await reader.read()
    writer.close()
    assert answer.split(b" ")[1] in (b"404", b"400")


async def test_every_answer_carries_the_policy(site):
    """Files, answers and refusals."""
    for path in ("/", "/page.js", "/api/v1/jobs", "/nothing", "/api/v1/jobs/none"):
        headers = (await site.ask("GET", path))[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_holds_no_script_and_no_style_of_its_own(site):
    """The policy would not let them run; nothing is fetched from elsewhere."""
    for path in ("/", "/page.css", "/page.js", "/charts.js", "/dom.js", "/server.js", "/text.js"):
        text = (await site.ask("GET", path))[1]
        assert "://" not in text.replace("nfs://", ""), path
        assert "innerHTML" not in text
    page = (await site.ask("GET", "/"))[1]
    assert page.count("<script") == 1
    assert " style=" not in page


async def test_the_charts_come_with_their_licence(site):
    """As its terms ask."""
    assert "MIT License" in (await site.ask("GET", "/uplot/LICENSE"))[1]


async def test_further_pages_than_are_served_are_told_so(site):
    """And have their place when another one goes."""
    streams = [await site.session.get(f"{site.base}/api/v1/events") for _ in range(MOST_STREAMS)]
    status, _, headers = await site.ask("GET", "/api/v1/events")
    assert (status, "Retry-After" in headers) == (503, True)
    assert (await site.ask("GET", "/api/v1/jobs"))[0] == 200
    for stream in streams:
        stream.close()
    while (answer := await site.session.get(f"{site.base}/api/v1/events")).status == 503:
        answer.close()
    assert answer.status == 200
    answer.close()
