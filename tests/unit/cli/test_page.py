"""--http beside a command."""

import logging

import aiohttp
import pytest

from cachewarmer.cli.commands import build_parser
from cachewarmer.cli.options.general import BrokerChoice
from cachewarmer.cli.options.serving import Page
from cachewarmer.cli.page import served
from cachewarmer.config import HTTP_TOKEN, Settings, child_environment, shared_environment
from cachewarmer.errors import UsageError
from tests.servers.ports import free_port

TOKEN = "a-token-that-nobody-guesses"


@pytest.mark.parametrize("command", [["manager"], ["warm", "/a"]])
def test_both_commands_say_where_the_page_is_served(command):
    """The same options."""
    arguments = [*command, "--http", "[::1]:1", "--http-host", "a", "--http-host", "b", "--http-token-file", "t"]
    chosen = build_parser().parse_args(arguments)
    assert chosen.command.parse(chosen).page == Page(address="[::1]:1", names=("a", "b"), token_file="t")


async def page(tmp_path, **chosen):
    return served(Page(**chosen), f"sqlite:///{tmp_path}/b.db", Settings(), BrokerChoice())


async def test_the_token_comes_from_the_file_or_the_environment(tmp_path, monkeypatch, caplog):
    """The file's counts; the page is served as long as the block runs."""
    caplog.set_level(logging.INFO, "cachewarmer.cli.page")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setenv(HTTP_TOKEN, "another-token-of-the-environment")
    port = free_port()
    for name, token in ((str(file), TOKEN), ("", "another-token-of-the-environment")):
        async with (
            await page(tmp_path, address=f"127.0.0.1:{port}", token_file=name),
            aiohttp.ClientSession() as session,
        ):
            url = f"http://127.0.0.1:{port}/api/v1/session"
            assert (await session.get(url)).status == 401
            assert (await session.get(url, headers={"Authorization": f"Bearer {token}"})).status == 200
            assert f"the page is at http://127.0.0.1:{port}/" in caplog.messages
        with pytest.raises(aiohttp.ClientConnectorError):
            async with aiohttp.ClientSession() as session:
                await session.get(url)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"names": ("a",)}, "need --http"),
        ({"address": "127.0.0.1:0", "token_file": "/nowhere"}, "--http-token-file /nowhere: No such file"),
        ({"address": "127.0.0.1:0", "token_file": "/dev/null"}, "it is empty"),
        ({"address": "192.0.2.1:1", "token_file": ""}, "a token is needed"),
    ],
)
async def test_what_can_not_be_served_is_said_in_one_line(tmp_path, chosen, said):
    """Before anything is done."""
    with pytest.raises(UsageError, match=said):
        async with await page(tmp_path, **chosen):
            pass


async def test_a_port_that_is_taken_is_said(tmp_path):
    """With what to do."""
    port = free_port()
    async with await page(tmp_path, address=f"127.0.0.1:{port}"):
        with pytest.raises(UsageError, match="choose another port"):
            async with await page(tmp_path, address=f"127.0.0.1:{port}"):
                pass


def test_workers_do_not_get_the_token(monkeypatch):
    """Neither those of this machine nor those of others."""
    monkeypatch.setenv(HTTP_TOKEN, TOKEN)
    assert TOKEN not in child_environment().values()
    assert TOKEN not in shared_environment().values()
