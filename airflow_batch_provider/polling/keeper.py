"""The one client of a poller; follows its connection when that is edited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from airflow_batch_provider.client import AsyncBatchClient, ServiceSettings
from airflow_batch_provider.exceptions import ConfigurationError

log = logging.getLogger(__name__)

RELOAD_SECONDS = 60.0

LoadSettings = Callable[[], Awaitable[ServiceSettings]]
OpenClient = Callable[[ServiceSettings], AsyncBatchClient]


class ClientKeeper:
    """
    Opens a client, and another one when the connection's content has changed.

    :param name: The connection, for the log.
    :param load: Reads the connection.
    :param open_client: Opens a client.
    """

    def __init__(self, name: str, load: LoadSettings, open_client: OpenClient) -> None:
        self._name = name
        self._load = load
        self._open_client = open_client
        self._client: AsyncBatchClient | None = None
        self._loaded_at = 0.0

    async def client(self, now: float, *, is_doubtful: bool) -> AsyncBatchClient:
        """
        Return the client. Nothing else may be using it meanwhile: it may be closed and replaced.

        :param now: Epoch seconds.
        :param is_doubtful: True after trouble, when the connection is read anew before it is used.
        :raises ConfigurationError: The connection does not exist or cannot be used.
        """
        if self._client is None or is_doubtful or now - self._loaded_at >= RELOAD_SECONDS:
            settings = await self._read()
            self._loaded_at = now
            if self._client is None or self._client.settings != settings:
                if self._client is not None:
                    log.info("Connection %s has changed; it is used as it is now.", self._name)
                    await self.close()
                # In a thread: loading the certificates takes a tenth of a second.
                self._client = await asyncio.to_thread(self._open_client, settings)
        return self._client

    async def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _read(self) -> ServiceSettings:
        try:
            settings = await self._load()
        except ConfigurationError:
            raise
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - secrets backends raise what they like, and may quote what they
            # hold; Airflow's own DeadlockImminentError (before 3.3.2) is no Exception.
            raise ConfigurationError(
                f"Connection {self._name} cannot be read ({type(error).__name__}). The batches go on at the service."
            ) from None
        # No retries inside a look: the watch is patient, and a sleeping client would hold up the others.
        return replace(settings, max_retries=0)
