"""What routes work with."""

from typing import Annotated

from fastapi import Depends, Request

from forgetless.curator.service.access import Keys
from forgetless.curator.service.ledger import Ledger
from forgetless.curator.service.parts import Parts
from forgetless.curator.service.queue import Queue
from forgetless.curator.service.responses import Kept
from forgetless.curator.service.settings import Settings
from forgetless.curator.service.sql_pool import SqlPool
from forgetless.curator.service.stores import Stores


class Service:
    """All parts, made together; they run between `start` and `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.token)
        self.stores = Stores(settings)
        self.kept = Kept()
        self.parts = Parts()
        self.ledger = Ledger(settings.home)
        self.queue = Queue(settings, self.ledger, self.stores)
        self.sql = SqlPool()

    async def start(self) -> None:
        """Go on with the jobs that were left."""
        await self.sql.start()
        await self.queue.start()

    async def close(self) -> None:
        """Stop children; jobs that ran go on at the next start."""
        await self.queue.close()
        await self.sql.close()
        self.stores.close()


def of_request(request: Request) -> Service:
    """The service that answers."""
    service: Service = request.app.state.service
    return service


Given = Annotated[Service, Depends(of_request)]
"""A route's parameter: `service: Given`."""
