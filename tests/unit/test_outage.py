import logging

from cachewarmer.outage import OutageLog

log = logging.getLogger("outage-test")


def test_an_outage_is_two_lines_and_one_a_minute(caplog):
    """However often a thing fails: its begin, a reminder a minute, and its end are told, and nothing else."""
    now = [0.0]
    outage = OutageLog(log, "cache1", lambda: now[0])
    with caplog.at_level(logging.INFO):
        for second in range(150):
            now[0] = float(second)
            outage.failed("connection refused")
        outage.answered()
        outage.answered()
    assert [record.message for record in caplog.records] == [
        "cache1: connection refused; waiting for it",
        "cache1: connection refused; waiting for 60 s so far",
        "cache1: connection refused; waiting for 120 s so far",
        "cache1 answers again after 149 s",
    ]


def test_the_name_is_not_told_twice(caplog):
    """A problem that begins with the name of the thing is told as it is."""
    with caplog.at_level(logging.INFO):
        OutageLog(log, "cache1").failed("cache1: refused")
    assert caplog.records[0].message == "cache1: refused; waiting for it"
