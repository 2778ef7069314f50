"""Answers of many listeners, stored together: a transaction waits for the disk once, however many answers it has."""

import asyncio
import concurrent.futures

from musicgen_jax.listening.storage import Database, StoredAnswer


class GroupCommit:
    """Stores answers in a thread of its own. All that come in while one transaction is written are in the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._waiting: list[tuple[StoredAnswer, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def store(self, answer: StoredAnswer) -> None:
        """Returns when the answer is on disk. Raises what `Database.store` raises."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, done))
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        """Until nothing waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error = None
            try:
                await loop.run_in_executor(self._thread, self._database.store, [answer for answer, _ in batch])
            except Exception as failed:  # of whatever kind: those who wait are told
                error = failed
            for _, done in batch:
                if done.cancelled():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        self._task = None
