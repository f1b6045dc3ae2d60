"""The OpenAPI 3.1 document of the API (spec.openapis.org/oas/v3.1.1). A test asks a running server by it."""

from __future__ import annotations

from typing import Any

from cachewarmer import __version__
from cachewarmer.model import TOO_SHORT, Bound, JobState, Priority

MOST_TARGETS = 20
LONGEST = 4096

_TEXTS = {"type": "array", "maxItems": 100, "items": {"type": "string", "minLength": 1, "maxLength": LONGEST}}
_PRIORITY = {"type": "string", "enum": [str(one) for one in Priority]}
_BANDWIDTH = {"type": "string", "minLength": 1, "maxLength": 1000}
SUBMISSION: dict[str, Any] = {
    "type": "object",
    "required": ["targets"],
    "additionalProperties": False,
    "properties": {
        "targets": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_TARGETS,
            "items": {"type": "string", "minLength": 1, "maxLength": LONGEST},
            "description": "TARGETs as the command line takes them; one job each",
        },
        "name": {"type": "string", "maxLength": 200},
        "include": {**_TEXTS, "description": "patterns of files that are wanted; none: all"},
        "exclude": {**_TEXTS, "description": "patterns of files that are not"},
        "max_file_bytes": {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1, "description": "0: no limit"},
        "max_bandwidth": {
            "type": "integer",
            "minimum": 0,
            "maximum": (1 << 63) - 1,
            "description": "bytes per second over all workers; 0: no limit",
        },
        "bandwidth": {**_BANDWIDTH, "description": "instead of max_bandwidth: as --max-bandwidth takes it"},
        "priority": {**_PRIORITY, "description": "how urgent the job is beside others; not given: normal"},
    },
}
"""What POST /jobs takes; requests are checked against this very schema."""
LIMIT: dict[str, Any] = {
    "type": "object",
    "required": ["bandwidth"],
    "additionalProperties": False,
    "properties": {
        "bandwidth": {
            **_BANDWIDTH,
            "description": "over all workers: 200M, 100MB/s, 800Mbit, none, or 08:00-20:00=200Mbit,=2Gbit",
        }
    },
}
"""What POST /jobs/{job}/limit takes."""

_NUMBER, _COUNT, _TEXT, _FLAG = (
    {"type": "number"},
    {"type": "integer", "minimum": 0},
    {"type": "string"},
    {"type": "boolean"},
)
_COUNTS = (
    "files bytes directories failed_files failed_directories vanished_files changed_files excluded_files skipped_files links "
    "hardlinks duplicates unchanged_files partial_files left_out_bytes scanned_files scanned_bytes poisoned_items calls"
).split()


def _object(properties: dict[str, Any], *optional: str, open_ended: bool = False) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": open_ended}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas() -> dict[str, Any]:
    job = {
        **dict.fromkeys(("job", "name", "target", "reason"), _TEXT),
        "state": {"type": "string", "enum": [str(one) for one in JobState]},
        "priority": _PRIORITY,
        "max_bandwidth": _COUNT,
        "max_bandwidth_hours": _TEXT,
        **dict.fromkeys(_COUNTS, _COUNT),
        "scan_finished": _FLAG,
        **dict.fromkeys(("seconds", "files_per_second", "bytes_per_second"), _NUMBER),
        "errors": _list(_object({"path": _TEXT, "error": _TEXT})),
        "slowest": _list(_object({"path": _TEXT, "seconds": _NUMBER})),
        "histogram": _list(_object({"from": _COUNT, "below": _COUNT, "files": _COUNT})),
        "warnings": _list(_TEXT),
        "bound_by": {"type": "string", "enum": [*(str(one) for one in Bound), TOO_SHORT]},
        "bound": {"type": "object"},
        "workers": _list(_object({"worker": _TEXT, "items": _COUNT, "files": _COUNT, "bytes": _COUNT})),
        "addresses": _list({"type": "object"}),
    }
    live = _object(
        {
            "items": _object(dict.fromkeys(("published", "waiting", "leased", "done", "poison"), _COUNT)),
            **dict.fromkeys(("submitted_at", "started_at", "finished_at"), _NUMBER),
            "max_bandwidth": _COUNT,
            "workers": _list(_ref("Worker")),
            "addresses": _list(_ref("Address")),
        }
    )
    verified = _object(
        {"state": {"enum": ["running", "done", "failed"]}, "said": _TEXT, "result": _nullable({"type": "object"})}
    )
    address = {
        **dict.fromkeys(("address", "bound", "problem"), _TEXT),
        **dict.fromkeys(("window", "in_flight", "knee", "calls", "retries", "jukebox_waits", "reconnects"), _COUNT),
        **dict.fromkeys(("canary_idle_ms", "canary_ms", "silent_seconds"), _NUMBER),
        "latency_ms": _object(dict.fromkeys(("p50", "p95", "p99"), _NUMBER)),
        "latencies": _list(_object({"below_ms": _NUMBER, "calls": _COUNT})),
    }
    worker = {
        **dict.fromkeys(("worker", "host", "bound"), _TEXT),
        **dict.fromkeys(("seen_seconds", "cpu_share", "files_per_second", "bytes_per_second"), _NUMBER),
        "at_work": _FLAG,
        "ended": _FLAG,
        "items": _COUNT,
        "addresses": _list(_TEXT),
    }
    fleet = {
        "name": _TEXT,
        "seen": _FLAG,
        **dict.fromkeys(("wanted", "running", "queued", "evicted"), _COUNT),
        "machine_seconds": _NUMBER,
        "most_dollars": _nullable(_NUMBER),
        "cost": _nullable(_NUMBER),
        "currency": _TEXT,
        "prices": _TEXT,
    }
    return {
        "Error": _object({"error": _TEXT}),
        "Submission": SUBMISSION,
        "Limit": LIMIT,
        "Job": _object(job, "addresses", "bound"),
        "JobDetail": _object({**job, "live": live, "verified": _nullable(verified)}, "addresses", "bound"),
        "Verified": verified,
        "Worker": _object(worker),
        "Address": _object(address),
        "Fleet": _object(fleet),
    }


def _answers(status: int, said: str, schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    said_of = {
        400: "the request makes no sense",
        401: "the token is missing or wrong",
        403: "another site's page asked",
        404: "there is no such job",
        409: "the job's state does not allow it",
        413: "the body is too long",
        415: "the body is not application/json",
        421: "the request names a host that this server is not",
        500: "a fault of the program",
        503: "the broker does not answer",
    }
    failures = {
        str(code): {"description": said_of[code], "content": {"application/json": {"schema": _ref("Error")}}}
        for code in (*errors, 401, 403, 421, 500, 503)
    }
    return {str(status): {"description": said, "content": {"application/json": {"schema": schema}}}, **failures}


_JOB_PARAMETER = {
    "name": "job",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[0-9A-Za-z]+$"},
}


def _get(summary: str, schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": _answers(200, "as asked", schema, *errors)}}


def _of_job(call: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [_JOB_PARAMETER], **call}


def _act(summary: str, status: int, schema: dict[str, Any]) -> dict[str, Any]:
    return _of_job({"post": {"summary": summary, "responses": _answers(status, "done", schema, 404, 409)}})


def document() -> dict[str, Any]:
    """The document."""
    ids = _object({"job": _TEXT, "jobs": _list(_TEXT)})
    submission, limit = (
        {"required": True, "content": {"application/json": {"schema": _ref(name)}}} for name in ("Submission", "Limit")
    )
    points = _list(_list(_NUMBER))
    return {
        "openapi": "3.1.0",
        "info": {"title": "cachewarmer", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": {
            "/openapi.json": _get("this document", {"type": "object"}),
            "/session": _get("what the page needs first", _object({"version": _TEXT, "token": _TEXT})),
            "/jobs": {
                **_get("all jobs, newest first, as status --json", _object({"jobs": _list(_ref("Job"))})),
                "post": {
                    "summary": "submit a job for each target",
                    "requestBody": submission,
                    "responses": _answers(201, "the jobs' ids", ids, 400, 413, 415),
                },
            },
            "/jobs/{job}": _of_job(_get("one job, as status JOB --json, with live", _ref("JobDetail"), 404)),
            "/jobs/{job}/history": _of_job(
                _get(
                    "points of the charts: [Unix seconds, files, bytes, window, canary ms]",
                    _object({"points": points}),
                    404,
                )
            ),
            "/jobs/{job}/pause": _act("pause a job", 200, _ref("Job")),
            "/jobs/{job}/resume": _act("resume a job that was paused, or that failed", 200, _ref("Job")),
            "/jobs/{job}/cancel": _act("end a job", 200, _ref("Job")),
            "/jobs/{job}/limit": _of_job(
                {
                    "post": {
                        "summary": "give a job another bandwidth while it runs",
                        "requestBody": limit,
                        "responses": _answers(200, "done", _ref("Job"), 400, 404, 409, 413, 415),
                    }
                }
            ),
            "/jobs/{job}/verify": _act("begin to verify a job", 202, _ref("Verified")),
            "/workers": _get("every worker that was heard of recently", _object({"workers": _list(_ref("Worker"))})),
            "/fleet": _get("the fleet that this process drives", _object({"fleet": _nullable(_ref("Fleet"))})),
            "/events": {
                "get": {
                    "summary": "server-sent events: state; with a job also history, job and points",
                    "parameters": [{**_JOB_PARAMETER, "in": "query", "required": False}],
                    "responses": {
                        **_answers(200, "", {}, 400, 404),
                        "200": {
                            "description": "events without end",
                            "content": {"text/event-stream": {"schema": _TEXT}},
                        },
                    },
                }
            },
        },
        "components": {"schemas": _schemas(), "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
