"""What a process is allowed to do at a broker, shown by doing it, without any change."""

import pytest

from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.doctor.broker import look_at_broker
from cachewarmer.errors import BrokerError
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
    roles = ({"writing"}, {"submitting", "managing", "working"}, {"job queue", "work queue", "table"})
    assert any(those <= set(found) for those in roles)
    assert {one.level for one in found.values()} == {Level.OK}, found
    assert "clock" in found


EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"


@pytest.mark.parametrize(
    ("change", "refused", "said"),
    [
        ("", set(), ""),
        ("REVOKE DELETE ON {schema}.jobs FROM {role}", {"managing"}, "permission denied for table jobs"),
        ("REVOKE INSERT ON {schema}.jobs FROM {role}", {"submitting"}, "permission denied for table jobs"),
        ("REVOKE INSERT ON {schema}.tallies FROM {role}", {"working"}, "permission denied for table tallies"),
        ("REVOKE UPDATE ON {schema}.items FROM {role}", {"working", "managing"}, "permission denied for table items"),
        ("read-only", {"submitting", "managing", "working"}, "in a read-only transaction"),
    ],
)
async def test_what_each_component_may_not_do_is_found_by_doing_it(postgres_url, change, refused, said):
    """As a role that may read all tables, and write all but one; no table is another one afterwards."""
    psycopg = pytest.importorskip("psycopg")
    lab = PostgresLab(postgres_url)
    async with lab.handles:
        broker = await lab.broker()
        job_id = await broker.submit(a_job())
        await broker.publish(items_of(job_id, 2))
        schema = broker._database.schema
        role = f"farm_{schema}"[:60]
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {role} LOGIN")
            admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            admin.execute(f"GRANT {EVERYTHING} ON ALL TABLES IN SCHEMA {schema} TO {role}")
            options = f"-crole%3D{role}"
            if change == "read-only":
                options += "%20-cdefault_transaction_read_only%3Don"
            elif change:
                admin.execute(change.format(schema=schema, role=role))
            tables = [
                name for (name,) in admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
            ]

            def contents():
                return {name: admin.execute(f"SELECT * FROM {schema}.{name} ORDER BY 1").fetchall() for name in tables}

            before = contents()
            separator = "&" if "?" in postgres_url else "?"
            try:
                url = f"{postgres_url}{separator}options={options}"
                async with PostgresBroker(url, schema=schema, create=False) as limited:
                    found = [one async for one in tried(limited)]
            finally:
                admin.execute(f"DROP OWNED BY {role}")
                admin.execute(f"DROP ROLE {role}")
            assert contents() == before
    assert [what for what, _ in found] == ["submitting", "managing", "working"]
    assert {what for what, error in found if error} == refused
    assert all(said in error for _, error in found if error)


async def tried(broker):
    """Each trial, and why it is refused."""
    for trial in broker.trials():
        try:
            await trial.call()
        except BrokerError as error:
            yield trial.what, str(error)
        else:
            yield trial.what, ""
