"""Job and work messages: whatever stands in a queue is read, or refused with one error of the package."""

from cachewarmer.errors import CacheWarmerError
from cachewarmer.model import WarmJob, WorkItem
from cachewarmer.paths import printable

SEEDS = [
    b'{"WarmTargetMountAddresses":["10.0.1.7"],"WarmTargetExportPath":"/data","WarmTargetPath":"/tools",'
    b'"InclusionList":[],"ExclusionList":["*.tmp"],"MaxFileSizeBytes":0}',
    b'{"WarmTargetMountAddresses":["10.0.1.7"],"WarmTargetExportPath":"/data","WarmTargetPath":"/tools",'
    b'"StartByte":-1,"StopByte":-1,"ApplyFilter":false,"StartFileFilter":"","EndFileFilter":"","InclusionList":[],'
    b'"ExclusionList":[],"MaxFileSizeBytes":0}',
    b"eyJXYXJtVGFyZ2V0TW91bnRBZGRyZXNzZXMiOlsiYSJdfQ==",
]


def fuzz(data: bytes) -> None:
    for kind in (WarmJob, WorkItem):
        try:
            read = kind.from_json(data)
        except CacheWarmerError as error:
            assert printable(str(error)).isprintable()
            continue
        again = kind.from_json(read.to_json())
        assert again == read, "what is written reads as what it was"
