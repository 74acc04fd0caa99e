"""The socket over plain TCP: keep-alive, pipelining, requests begun without a task, pieces, connections handed over."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from kapi.http import exchange, server
from tests.moments import turn

Serve = Callable[[bytes], Awaitable[bytes]]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path and query; /later waits first, /whole uses the short way, /pieces comes in three, /upgrade takes over."""
    extensions, path = scope["extensions"], scope["path"]
    if path == "/upgrade":
        reader, writer = extensions[server.UPGRADE]()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + await reader.readexactly(4))
        writer.close()
        return
    if path == "/later":
        await turn()
        await asyncio.to_thread(int)
    body = f"{scope['method']} {path}?{scope['query_string'].decode()}".encode()
    if path == "/whole":
        extensions[server.ANSWER](200, [(b"content-length", b"%d" % len(body))], body)
        return
    if path == "/body":
        body = b""
        while (message := await receive()).get("more_body", True):
            body += message.get("body", b"")
            if message["type"] == "http.disconnect":
                return
        body += message["body"]
    if path == "/breaks":
        raise ValueError("as it should")
    if path == "/nothing":
        return
    pieces = path == "/pieces"
    headers = [] if pieces else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if pieces:
        assert extensions[server.PIECE](b"one")
        assert extensions[server.PIECE](b"two")
        body = b"three"
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=[True, False], ids=["immediate", "task"])
async def talk(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """Send bytes to a new connection and read until the server closes it."""
    listen = server.Listen(("127.0.0.1",), 0)
    immediate = request.param
    http = server.Server(application, listen, lambda scope: immediate and scope["path"] not in ("/upgrade", "/body"))
    sockets = server.bound(listen)
    await http.start(sockets)

    async def talk(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*sockets[0].getsockname()[:2])
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        return answer

    yield talk
    await http.stop(0.1)


def get(path: str, *, last: bool = False) -> bytes:
    close = "Connection: close\r\n" if last else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode()


async def test_requests_follow_each_other_on_a_connection(talk: Serve) -> None:
    answer = await talk(get("/a?b=c") + get("/whole") + get("/later?d") + get("/%C3%A4", last=True))
    bodies = [answer.index(text) for text in (b"GET /a?b=c", b"GET /whole?", b"GET /later?d", "GET /ä?".encode())]
    assert bodies == sorted(bodies)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert answer.count(b"connection: close") == 1


async def test_many_pipelined_requests(talk: Serve) -> None:
    answer = await talk(get("/later") + get("/whole") * 400 + get("/whole", last=True))
    assert answer.count(b"GET /whole?") == 401


async def test_a_whole_url_is_understood(talk: Serve) -> None:
    assert b"GET /a?b=c" in await talk(get("http://x/a?b=c#d", last=True))


async def test_an_old_client_is_hung_up_on(talk: Serve) -> None:
    assert (await talk(b"GET /whole HTTP/1.0\r\n\r\n")).endswith(b"GET /whole?")


async def test_pieces_make_one_chunked_body(talk: Serve) -> None:
    answer = await talk(get("/pieces", last=True))
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")


async def test_a_body_is_read(talk: Serve) -> None:
    answer = await talk(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    assert answer.endswith(b"\r\n\r\nhello")


async def test_a_connection_is_handed_over_with_what_came_early(talk: Serve) -> None:
    head = b"POST /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
    assert await talk(head + b"ping") == b"HTTP/1.1 101 Switching Protocols\r\n\r\nping"


async def test_nonsense_is_refused(talk: Serve) -> None:
    assert (await talk(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_old_clients_get_pieces_until_the_end(talk: Serve) -> None:
    answer = await talk(b"GET /early HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"connection: close\r\n\r\nGET /early?")
    assert b"chunked" not in answer


async def test_head_has_no_body(talk: Serve) -> None:
    answer = await talk(b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"content-length: 8\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_client_that_waits_is_told_to_go_on(talk: Serve) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    answer = await talk(head + b"hello")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_long_body_in_chunks(talk: Serve) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = await talk(head + b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n" + b"ffff\r\n" + b"y" * 0xFFFF + b"\r\n0\r\n\r\n")
    assert answer.endswith(b"x" * 0xFFFF + b"y" * 0xFFFF)


async def test_an_answer_that_needs_no_body(talk: Serve) -> None:
    """What is left of the body of a request that was answered belongs to nobody; the next one is understood."""
    answer = await talk(b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nnot asked" + get("/a", last=True))
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.endswith(b"GET /a?")


async def test_a_body_that_breaks_off(talk: Serve) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await talk(head + b"5\r\nhello\r\nnonsense")).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("path", ["/breaks", "/nothing"])
async def test_an_application_that_does_not_answer(talk: Serve, path: str) -> None:
    answer = await talk(get(path) + get("/a", last=True))
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert answer.endswith(b"connection: close\r\n\r\nInternal Server Error"), "nothing follows"


@pytest.mark.parametrize("path", ["/a", "/whole", "/later", "/pieces"])
async def test_requests_leave_nothing_to_the_collector(talk: Serve, path: str) -> None:
    gc.collect()
    gc.disable()
    try:
        await talk(get(path) + get(path, last=True))
        assert not [each for each in gc.get_objects() if isinstance(each, exchange.Exchange)]
    finally:
        gc.enable()
