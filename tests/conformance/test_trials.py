"""What a process is allowed to do at a broker, shown by doing it, without any change."""

import pytest

from cachewarmer.doctor.broker import look_at_broker
from cachewarmer.findings import Level
from tests.conformance.labs import PostgresLab, a_job, items_of


async def test_each_trial_succeeds_and_changes_nothing(lab):
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    await broker.publish(items_of(job_id, 2))
    before = await broker.status(job_id), await broker.backlog()
    trials = broker.trials()
    assert trials
    for _ in range(2):
        for trial in trials:
            await trial.call()
    assert (await broker.status(job_id), await broker.backlog()) == before
    lease = await broker.claim_job(60)
    assert lease is not None
    assert lease.job.job_id == job_id
    assert len(await broker.claim(5, 60)) == 2, "no message was taken or hidden"


async def test_the_clocks_of_one_machine_agree(lab):
    broker = await lab.broker()
    ahead = await broker.clock_ahead()
    assert ahead is None or abs(ahead) < 5


async def test_the_doctor_says_a_line_about_each(lab):
    await lab.broker()
    found = {one.check: one async for one in look_at_broker(lab.looking())}
    tried = {"writing"} & set(found) or {"job queue", "work queue", "table"} & set(found)
    assert tried
    assert {one.level for one in found.values()} == {Level.OK}, found
    assert "clock" in found


async def test_a_table_that_may_not_be_written_is_named(postgres_url):
    """A role that may read all tables, and write all but one."""
    psycopg = pytest.importorskip("psycopg")
    lab = PostgresLab(postgres_url)
    async with lab.handles:
        broker = await lab.broker()
        schema = broker._database.schema
        role = f"reader_{schema}"[:60]
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {role} LOGIN")
            admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
            admin.execute(f"REVOKE DELETE ON {schema}.jobs FROM {role}")
            try:
                async with broker._database.statement() as sql:
                    await sql.connection.execute(f"SET ROLE {role}")
                    row = await sql.one("may_write")
                    await sql.connection.execute("RESET ROLE")
            finally:
                admin.execute(f"DROP OWNED BY {role}")
                admin.execute(f"DROP ROLE {role}")
    assert row == {"read_only": False, "refused": "jobs"}
