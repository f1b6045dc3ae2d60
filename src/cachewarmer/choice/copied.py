"""Lists of files that are needed more than once: streams are copied, and the list of a job is read again."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from typing import IO, TYPE_CHECKING

from cachewarmer.errors import UsageError
from cachewarmer.model import WarmJob

if TYPE_CHECKING:
    from cachewarmer.broker.base import Broker

COPY_MEMORY_BYTES = 1 << 20
_LENGTH = struct.Struct(">I")


class CopiedList:
    """A list of files that comes once and may be needed several times: a broker drops it when the job is over.

    Not ``copied``: it is needed once.
    """

    def __init__(self, chunks: AsyncIterable[bytes] | None, *, copied: bool) -> None:
        self._chunks = chunks
        self._rest = aiter(chunks) if chunks is not None else None
        self._copy: IO[bytes] | None = None
        if copied and chunks is not None:
            self._copy = tempfile.SpooledTemporaryFile(COPY_MEMORY_BYTES)  # noqa: SIM115  # ``close`` closes it

    def first(self) -> AsyncIterable[bytes] | None:
        """The list, which is copied as it passes; None if there is none."""
        return self._chunks if self._chunks is None or self._copy is None else self.again()

    async def again(self) -> AsyncIterator[bytes]:
        """The same chunks: what was read of them before, and then the rest.

        Raises:
            UsageError: the list came from an earlier command.
        """
        if self._copy is None or self._rest is None:
            raise UsageError("the file list of a resumed job is not kept", advice="verify TARGET --files-from FILE")
        place = 0
        while True:
            self._copy.seek(place)
            head = self._copy.read(_LENGTH.size)
            if head:
                chunk = self._copy.read(_LENGTH.unpack(head)[0])
            elif (found := await anext(self._rest, None)) is not None:
                chunk = found
                self._copy.write(_LENGTH.pack(len(chunk)) + chunk)
            else:
                return
            place = self._copy.tell()
            yield chunk

    def close(self) -> None:
        """Drops the copy."""
        if self._copy is not None:
            self._copy.close()


async def stored_list(broker: Broker, job: WarmJob) -> AsyncIterator[bytes]:
    """The list of a job as its broker has it.

    Raises:
        UsageError: it has none any more.
    """
    empty = True
    async for chunk in broker.file_list(job.job_id):
        empty = False
        yield chunk
    if empty:
        raise UsageError(
            f"the list of job {job.job_id} is no longer kept",
            advice="verify TARGET --files-from FILE",
        )


def list_of_job(broker: Broker, job: WarmJob) -> AsyncIterator[bytes] | None:
    """The same; None: the job has no list."""
    return stored_list(broker, job) if job.has_file_list else None
