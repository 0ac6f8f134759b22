"""Two transactions that read and then write the same SQLite database: both go through, one after the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from tasks.services.prefect_server import QueuedSqlite

READ, ADD = sa.text("SELECT n FROM counter"), sa.text("UPDATE counter SET n = n + 1")


@asynccontextmanager
async def database(config: AioSqliteConfiguration) -> AsyncIterator[AioSqliteConfiguration]:
    engine = await config.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
        await connection.execute(sa.text("INSERT INTO counter VALUES (0)"))
    try:
        yield config
    finally:
        await engine.dispose()


async def count(
    config: AioSqliteConfiguration, between: asyncio.Event | None = None, begun: asyncio.Event | None = None
) -> None:
    """Read, wait for `between`, and write, in one transaction."""
    async with await config.session(await config.engine()) as session, config.begin_transaction(session):
        await session.execute(READ)
        if begun is not None:
            begun.set()
        if between is not None:
            await between.wait()
        await session.execute(ADD)


async def one_writes_while_another_has_read(config: AioSqliteConfiguration) -> int:
    """The count after both, which is 2."""
    async with database(config):
        begun, between = asyncio.Event(), asyncio.Event()
        slow = asyncio.create_task(count(config, between, begun))
        await begun.wait()
        quick = asyncio.create_task(count(config))
        await asyncio.wait([quick], timeout=1.0)
        between.set()
        await asyncio.gather(slow, quick)
        async with await config.session(await config.engine()) as session:
            return (await session.execute(READ)).scalar_one()


def test_whoever_writes_second_waits_for_the_first(tmp_path):
    config = QueuedSqlite(f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    assert asyncio.run(one_writes_while_another_has_read(config)) == 2


def test_prefect_itself_fails_at_once(tmp_path):
    config = AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    with pytest.raises(OperationalError, match="database is locked"):
        asyncio.run(one_writes_while_another_has_read(config))


def test_whoever_only_reads_waits_for_nobody(tmp_path):
    async def read_inside(config: AioSqliteConfiguration) -> int:
        async with database(config), await config.session(await config.engine()) as session, config.begin_transaction(session):
            await session.execute(ADD)
            reader: AsyncSession
            async with await config.session(await config.engine()) as reader:
                return (await asyncio.wait_for(reader.execute(READ), timeout=5.0)).scalar_one()

    assert asyncio.run(read_inside(QueuedSqlite(f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}"))) == 0
