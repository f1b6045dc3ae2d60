"""The data of the charts: the history of a job in a limited number of points."""

from __future__ import annotations

MOST_POINTS = 720

Point = tuple[float, int, int, int, float]
"""(Unix seconds, files, bytes, window in calls, canary in milliseconds). Files and bytes are counted from the job's
start: whoever leaves a point out loses nothing of the rest."""


class History:
    """Holds the whole time of a job: when it is full, every second point goes, and further ones come half as often."""

    __slots__ = ("_every_seconds", "points")

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._every_seconds = 0.0

    def __repr__(self) -> str:
        return f"<History points={len(self.points)} every={self._every_seconds:.1f} s>"

    def add(self, point: Point) -> bool:
        """Whether it was taken."""
        if self.points and point[0] - self.points[-1][0] < self._every_seconds:
            return False
        self.points.append(point)
        if len(self.points) >= MOST_POINTS:
            span = self.points[-1][0] - self.points[0][0]
            self._every_seconds = 2 * span / MOST_POINTS * 0.99
            del self.points[1:-1:2]
        return True
