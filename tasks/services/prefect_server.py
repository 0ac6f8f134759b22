"""Prefect's own command with one difference: what writes to an SQLite database waits its turn instead of failing at once.

Prefect begins its transactions DEFERRED: one that has read and then writes fails with "database is locked", without waiting,
when another has written in between (https://www.sqlite.org/isolation.html). Loops of the server lose their turn so, and people
get a 503. IMMEDIATE takes the right to write first, and waits for it as long as Prefect's own `busy_timeout` says.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.cli import app
from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

import tasks.services.mail_block  # noqa: F401  (the server sends by blocks of this kind)


class QueuedSqlite(AioSqliteConfiguration):
    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        async with session.begin() as transaction:
            # Only the BEGIN of this connection: a session opened inside the block may read, and must not queue behind it.
            token = SQLITE_BEGIN_MODE.set("IMMEDIATE")
            try:
                await session.connection()
            finally:
                SQLITE_BEGIN_MODE.reset(token)
            yield transaction


def main() -> None:
    MODELS_DEPENDENCIES["database_config"] = QueuedSqlite(PREFECT_API_DATABASE_CONNECTION_URL.value())
    app()


if __name__ == "__main__":
    main()
