"""TARGET as a user writes it: parsed, or refused with one error of the package."""

from cachewarmer.errors import CacheWarmerError
from cachewarmer.paths import printable
from cachewarmer.target import make_job, parse_target

SEEDS = [
    b"nfs://cache1,cache2/projects/shot42?nfsport=2049&mountport=20048&uid=0&gid=0&export=/projects",
    b"cache1,cache2:/projects/shot42",
    b"[fd00::1]:/a",
    b"/mnt/juicefs/a",
    b"cache1,cache2,cache3,cache4,cache5,cache6,cache7,cache8",
]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        make_job(parse_target(text))
    except CacheWarmerError as error:
        assert printable(str(error)).isprintable()
