"""Writes how many files are left to warm to Cloud Monitoring, by which the group of workers grows and shrinks.

files_left.py PROJECT METRIC
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from typing import Any

TOKEN = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
SECONDS = 20.0
STATUS = ["/usr/local/bin/cachewarmer-with-broker", "status", "--json"]


def files_left(jobs: list[dict[str, Any]]) -> int:
    """Of the jobs that are neither over nor paused. One that is still scanned, or has bytes to read, has at least one."""
    left = 0
    for job in jobs:
        if job["state"] in ("queued", "scanning", "warming"):
            done = job["files"] + job["failed_files"] + job["vanished_files"]
            left += max(1, job["scanned_files"] - done)
    return left


def time_series(metric: str, project: str, value: int, now: float) -> dict[str, Any]:
    """The body of projects.timeSeries.create (Cloud Monitoring API v3): one point of a gauge."""
    point = {
        "interval": {"endTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))},
        "value": {"int64Value": str(value)},
    }
    series = {
        "metric": {"type": metric},
        "resource": {"type": "global", "labels": {"project_id": project}},
        "metricKind": "GAUGE",
        "valueType": "INT64",
        "points": [point],
    }
    return {"timeSeries": [series]}


def answer(url: str, headers: dict[str, str], body: dict[str, Any] | None = None) -> Any:
    """The JSON that a service answers."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as response:
        return json.loads(response.read() or b"{}")


def main() -> None:
    """Tells it again and again; ends with an error when it can't, for systemd to start it anew."""
    project, metric = sys.argv[1:]
    while True:
        said = subprocess.run(STATUS, stdout=subprocess.PIPE, check=True, timeout=60).stdout
        token = answer(TOKEN, {"Metadata-Flavor": "Google"})["access_token"]
        body = time_series(metric, project, files_left(json.loads(said)["jobs"]), time.time())
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer(f"https://monitoring.googleapis.com/v3/projects/{project}/timeSeries", headers, body)
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
