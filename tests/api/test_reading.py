"""How many entries are looked at for a list by a selector."""

import asyncio

from kapi.api import options, reading
from kapi.api.app import App
from kapi.storage.store import Entry

COUNT = 2500


async def test_a_page_looks_at_no_more_than_it_takes_to_fill_it(app: App) -> None:
    await _fill(app)
    looked: list[str] = []
    kind = app.catalogue.get("", "v1", "configmaps")
    assert kind is not None

    def where(every: int) -> options.ListOptions:
        def test(entry: Entry) -> bool:
            looked.append(entry.key)
            return int(entry.key[-4:]) % every == 0

        looked.clear()
        return options.ListOptions(where=test)

    page = await reading.matching(app.rest, kind, "default", where(1), limit=5)
    assert (len(page.entries), page.more, len(looked)) == (5, True, 5)
    page = await reading.matching(app.rest, kind, "default", where(1000), limit=3)
    assert ([entry.key[-4:] for entry in page.entries], page.more) == (["0000", "1000", "2000"], True)
    page = await reading.matching(app.rest, kind, "default", where(2000), limit=3)
    assert ([entry.key[-4:] for entry in page.entries], page.more) == (["0000", "2000"], False)
    page = await reading.matching(app.rest, kind, "default", where(1))
    assert (len(page.entries), page.more, len(looked)) == (COUNT, False, COUNT)


async def _fill(app: App) -> None:
    commits = (
        app.rest.store.commit(
            f"/core/configmaps/default/m{number:04}", b'{"metadata":{"name":"m%04d"}}' % number, expect=0, labels={}, fields={}
        )
        for number in range(COUNT)
    )
    await asyncio.gather(*commits)
