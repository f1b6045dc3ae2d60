"""The JSON API: the same keys as ``--json``. ``openapi`` describes it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from aiohttp import web

from cachewarmer import __version__
from cachewarmer.broker.base import Broker
from cachewarmer.errors import BrokerUnavailable, InvalidMessage, UnknownJob, UsageError
from cachewarmer.model import Bandwidth, JobState, Priority, Report, Wanted, WarmJob, check_job_id
from cachewarmer.submitter import resume, submit
from cachewarmer.target import make_job, parse_bandwidth, parse_target
from cachewarmer.web.documents import worker_document
from cachewarmer.web.feed import Feed
from cachewarmer.web.guard import add_headers
from cachewarmer.web.openapi import LIMIT, SUBMISSION, document
from cachewarmer.web.verifying import Verifier

MOST_STREAMS = 64
"""Pages that watch at the same time; further ones are told to come back later."""
SEND_SECONDS = 20.0
"""A reader that takes nothing for so long is let go."""
MOST_BODY_BYTES = 256 * 1024

_KINDS: Mapping[str, type] = {"string": str, "integer": int, "array": list}


class Api:
    """Handlers; ``page_token`` is what the page needs to act, empty where the user has to know it."""

    def __init__(self, feed: Feed, verifier: Verifier, page_token: str) -> None:
        self._feed = feed
        self._verifier = verifier
        self._page_token = page_token
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """What there is to ask for; nothing that GET reaches changes anything."""
        get, post = web.get, web.post
        return [
            get("/api/v1/openapi.json", self.openapi, allow_head=False),
            get("/api/v1/session", self.session, allow_head=False),
            get("/api/v1/jobs", self.jobs, allow_head=False),
            post("/api/v1/jobs", self.submit),
            get("/api/v1/jobs/{job}", self.job, allow_head=False),
            get("/api/v1/jobs/{job}/history", self.history, allow_head=False),
            post("/api/v1/jobs/{job}/pause", self.move(lambda _: JobState.PAUSED)),
            post("/api/v1/jobs/{job}/resume", self.resume),
            post("/api/v1/jobs/{job}/cancel", self.move(lambda _: JobState.CANCELLED)),
            post("/api/v1/jobs/{job}/limit", self.limit),
            post("/api/v1/jobs/{job}/verify", self.verify),
            get("/api/v1/workers", self.workers, allow_head=False),
            get("/api/v1/fleet", self.fleet, allow_head=False),
            get("/api/v1/events", self.events, allow_head=False),
        ]

    async def openapi(self, _: web.Request) -> web.Response:
        """The API's description."""
        return web.json_response(document())

    async def session(self, _: web.Request) -> web.Response:
        """What a page needs to know first."""
        return web.json_response({"version": __version__, "token": self._page_token})

    # -- looking ---------------------------------------------------------------------------------------------------

    async def _broker(self) -> Broker:
        return await self._feed.opened()

    async def jobs(self, _: web.Request) -> web.Response:
        """As ``status --json`` has them."""
        statuses = await (await self._broker()).jobs()
        return web.json_response({"jobs": [Report.of_job(one).document() for one in statuses]})

    async def job(self, request: web.Request) -> web.Response:
        """As ``status JOB --json`` has it, and ``live``."""
        job_id = _job_id(request)
        await (await self._broker()).state(job_id)  # a broker that is away must not be answered for
        try:
            return web.json_response(self._feed.job(job_id))
        except UnknownJob:  # it came since the last look
            status = await (await self._broker()).status(job_id)
            return web.json_response(self._feed.document(status))

    async def history(self, request: web.Request) -> web.Response:
        """The points of a job's charts."""
        job_id = _job_id(request)
        await (await self._broker()).state(job_id)
        return web.json_response({"points": self._feed.history(job_id)})

    async def workers(self, _: web.Request) -> web.Response:
        """Every worker that was heard of recently."""
        rows = await (await self._broker()).workers()
        return web.json_response({"workers": [worker_document(one, "", self._feed.rates()) for one in rows]})

    async def fleet(self, _: web.Request) -> web.Response:
        """The fleet that this process drives."""
        return web.json_response({"fleet": self._feed.state()["fleet"]})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events, until the reader goes or takes nothing any more."""
        job_id = request.query.get("job", "")
        if job_id:
            check_job_id(job_id)
            with suppress(BrokerUnavailable):  # the page tells of it
                await (await self._broker()).state(job_id)
            self._feed.look_soon()
        if self._streams >= MOST_STREAMS:
            raise web.HTTPServiceUnavailable(
                text=f"{MOST_STREAMS} pages are open already", headers={"Retry-After": "30"}
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        add_headers(response, request)
        self._streams += 1
        try:
            async with self._feed.watching():
                await response.prepare(request)
                async with aclosing(self._feed.events(job_id)) as events:
                    async for text in events:
                        async with asyncio.timeout(SEND_SECONDS):
                            await response.write(text.encode())
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams -= 1
        return response

    # -- acting ----------------------------------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> web.Response:
        """Posts a job for each target."""
        said = await _body(request, SUBMISSION)
        broker = await self._broker()
        jobs = [_job(target, said, private=broker.is_private) for target in said["targets"]]
        ids = [await submit(broker, job) for job in jobs]
        self._feed.look_soon()
        return web.json_response({"job": ids[0], "jobs": ids}, status=201)

    async def resume(self, request: web.Request) -> web.Response:
        """Lets a job continue that was paused, or that failed."""
        status = await resume(await self._broker(), _job_id(request))
        self._feed.look_soon()
        return web.json_response(Report.of_job(status, time.time()).document())

    def move(self, state: Callable[[Any], JobState]) -> Callable[[web.Request], Any]:
        """A handler that moves a job to the state that ``state`` gives for its status."""

        async def moved(request: web.Request) -> web.Response:
            job_id = _job_id(request)
            broker = await self._broker()
            status = await broker.set_state(job_id, state(await broker.status(job_id)))
            self._feed.look_soon()
            return web.json_response(Report.of_job(status, time.time()).document())

        return moved

    async def limit(self, request: web.Request) -> web.Response:
        """Gives a job another bandwidth."""
        job_id = _job_id(request)
        said = await _body(request, LIMIT)
        status = await (await self._broker()).limit(job_id, parse_bandwidth(said["bandwidth"]))
        self._feed.look_soon()
        return web.json_response(Report.of_job(status, time.time()).document())

    async def verify(self, request: web.Request) -> web.Response:
        """Begins to verify a job; ``verified`` of the job says how far it is."""
        job_id = _job_id(request)
        broker = await self._broker()
        status = await broker.status(job_id)
        found = self._verifier.begin(broker, status.job)
        self._feed.look_soon()
        return web.json_response(found, status=202)


def _job_id(request: web.Request) -> str:
    job_id = request.match_info["job"]
    try:
        check_job_id(job_id)
    except InvalidMessage as error:
        raise UnknownJob(f"there is no job {job_id}") from error
    return job_id


async def _body(request: web.Request, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, checked against its schema. Raises ``UsageError``."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json")
    try:
        said = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is not JSON") from error
    if not isinstance(said, dict):
        raise UsageError("the body must be a JSON object")
    for key, value in said.items():
        schema = asked["properties"].get(key)
        if schema is None:
            raise UsageError(f"there is no key {key[:40]!r}: there are {', '.join(asked['properties'])}")
        _check(key, value, schema)
    for key in asked["required"]:
        if key not in said:
            raise UsageError(f"{key} is missing")
    return said


def _check(key: str, said: object, schema: Mapping[str, Any]) -> None:
    kind = schema["type"]
    value: Any = said
    if type(said) is not _KINDS[kind]:
        raise UsageError(f"{key} must be of type {kind}")
    if kind == "integer" and not schema["minimum"] <= value <= schema["maximum"]:
        raise UsageError(f"{key} must be from {schema['minimum']:,} to {schema['maximum']:,}")
    if "enum" in schema:
        if value not in schema["enum"]:
            raise UsageError(f"{key} must be one of {', '.join(schema['enum'])}")
        return
    if kind == "string" and not schema.get("minLength", 0) <= len(value) <= schema["maxLength"]:
        raise UsageError(f"{key} must have at most {schema['maxLength']:,} characters")
    if kind == "array":
        if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
            raise UsageError(f"{key} must have from {schema.get('minItems', 0)} to {schema['maxItems']} entries")
        for one in value:
            _check(key, one, schema["items"])


def _bandwidth(said: Mapping[str, Any]) -> Bandwidth:
    """``bandwidth`` is as the command line takes it, ``max_bandwidth`` a number of bytes per second."""
    if "bandwidth" in said and said.get("max_bandwidth"):
        raise UsageError("give bandwidth or max_bandwidth, not both")
    return parse_bandwidth(said["bandwidth"]) if "bandwidth" in said else Bandwidth(said.get("max_bandwidth", 0))


def _job(text: str, said: Mapping[str, Any], *, private: bool) -> WarmJob:
    try:
        target = parse_target(text)
        if target.is_local and not (private and text.startswith("/")):
            raise UsageError("workers can't read this target", subject=text.encode(), advice="write nfs://ADDRESS/PATH")
        wanted = Wanted(
            include=tuple(said.get("include", ())),
            exclude=tuple(said.get("exclude", ())),
            max_file_bytes=said.get("max_file_bytes", 0),
        )
        return make_job(
            target,
            wanted,
            name=said.get("name", ""),
            bandwidth=_bandwidth(said),
            priority=Priority(said.get("priority", Priority.NORMAL)),
        )
    except UnicodeEncodeError as error:
        raise UsageError("a text holds a character that no path can hold") from error
