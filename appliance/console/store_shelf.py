"""The shelf in the control process's store, beside requests and grants.

Made by `console/serve`. Rule: every method is one transaction of the store.
"""

import contextlib
from collections.abc import AsyncIterator

from appliance.console.shelf import Item
from appliance.control.desk import Unavailable
from appliance.control.store import Sheet, Store, StoreUnavailable, Transaction


class StoreShelf:
    """`Shelf` in the control process's store, which forgets what has expired by itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, item: Item) -> None:
        async with self._transaction() as transaction:
            await transaction.put_sheet(_sheet(item))

    async def get(self, kind: str, key: str) -> Item | None:
        async with self._transaction() as transaction:
            found = await transaction.sheet(kind, key)
        return None if found is None else _item(found)

    async def take(self, kind: str, key: str) -> Item | None:
        async with self._transaction() as transaction:
            found = await transaction.sheet(kind, key)
            if found is None or not await transaction.remove_sheet(kind, key):
                return None
        return _item(found)

    async def replace(self, item: Item, before: str) -> bool:
        async with self._transaction() as transaction:
            found = await transaction.sheet(item.kind, item.key)
            if found is None or found.body != before:
                return False
            await transaction.put_sheet(_sheet(item))
        return True

    async def of(self, kind: str, owner: str | None = None, limit: int = 1000) -> list[Item]:
        async with self._transaction() as transaction:
            found = await transaction.sheets(kind, owner or "", limit)
        return [_item(sheet) for sheet in found]

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        try:
            async with self._store.transaction() as transaction:
                yield transaction
        except StoreUnavailable as error:
            raise Unavailable("sign-ins cannot be read or kept at the moment") from error


def _sheet(item: Item) -> Sheet:
    return Sheet(item.kind, item.key, item.body, item.owner, item.expires)


def _item(sheet: Sheet) -> Item:
    return Item(sheet.kind, sheet.id, sheet.owner, sheet.body, sheet.expires)
