"""The socket over plain TCP: keep-alive, pipelining, requests begun without a task, pieces, connections handed over."""

import asyncio
import gc
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kapi.http import connections, exchange, protocol, server
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
    if path == "/headers":
        await turn()
        body = b",".join(name for name, _ in scope["headers"])
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
    http = server.Server(application, listen, lambda scope: immediate and scope["path"] not in ("/upgrade", "/body", "/headers"))
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
        assert not [each for each in gc.get_objects() if isinstance(each, exchange.Exchange | protocol.Protocol)]
    finally:
        gc.enable()


async def test_an_upgraded_connection_leaves_nothing_to_the_collector(talk: Serve) -> None:
    gc.collect()
    gc.disable()
    try:
        await talk(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nping")
        await turn()
        left = [each for each in gc.get_objects() if isinstance(each, exchange.Exchange | protocol.Protocol | connections.Streams)]
        assert not left
    finally:
        gc.enable()


# what net/http refuses, in its words -----------------------------------------------------------------------------------------------------

HOST = b"Host: x\r\n"
LAST = b"Connection: close\r\n\r\n"
BAD = "400 Bad Request"
REFUSED = {
    b"GET / HTTP/1.1\r\n\r\n": f"{BAD}: missing required Host header",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n": BAD,
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n": f"{BAD}: malformed Host header",
    b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n": f"{BAD}: malformed Host header",
    b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n": BAD,
    b"GET / HTTP/2.0\r\n" + HOST + LAST: "505 HTTP Version Not Supported: unsupported protocol version",
    b"GET / HTTP/0.9\r\n" + HOST + LAST: "505 HTTP Version Not Supported: unsupported protocol version",
    b"GET / HTTP/1.2\r\n" + HOST + LAST: BAD,
    b"GET / HTTP/x\r\n" + HOST + LAST: BAD,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": BAD,
    b"GET /a b HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET /a\x01 HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET /a%zz HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET /a%4 HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET /% HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET http://x/%zz HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET foo HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET * HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"POST * HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"CONNECT x:443 HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET x:443 HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"G\x00T / HTTP/1.1\r\n" + HOST + LAST: BAD,
    b"GET / HTTP/1.1\r\n" + HOST + b"A: a\0b\r\n" + LAST: BAD,
    b"GET / HTTP/1.1\r\n" + HOST + b"A\0: b\r\n" + LAST: BAD,
    b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n" + LAST: BAD,
    b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n" + LAST: BAD,
    b"GET / HTTP/1.1\r\n" + HOST + b"A\r\n" + LAST: BAD,
    b"GET / HTTP/1.1\r\n Host: x\r\n" + LAST: BAD,
    b"GET / HTTP/1.1\r\n" + HOST + b"Expect: nothing\r\n" + LAST: "417 Expectation Failed",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n" + LAST: BAD,
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n" + LAST: BAD,
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + LAST + b"0\r\n\r\n": BAD,
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n" + LAST: "501 Not Implemented: Unsupported transfer encoding",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n" + LAST: "501 Not Implemented: Unsupported transfer encoding",
    b"\r\n\r\n\r\n\r\n": BAD,
}


@pytest.mark.parametrize("sent", REFUSED)
async def test_what_is_malformed(talk: Serve, sent: bytes) -> None:
    status = REFUSED[sent]
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    assert (await talk(sent)).decode() == head + status


async def test_options_of_the_whole_server(talk: Serve) -> None:
    assert (await talk(b"OPTIONS * HTTP/1.1\r\n" + HOST + LAST)).startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n")


@pytest.mark.parametrize("host", [b"", b"x:1", b"[::1]:6443", b"a-b.c_d", b"%41"])
async def test_hosts(talk: Serve, host: bytes) -> None:
    assert (await talk(b"GET /a HTTP/1.1\r\nHost: " + host + b"\r\n" + LAST)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_trailers_are_nobodys_headers(talk: Serve) -> None:
    head = b"POST /headers HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = await talk(head + b"1\r\na\r\n0\r\nImpersonate-User: b\r\nHost: b\r\n\r\n")
    assert answer.endswith(b"host,transfer-encoding,connection")


async def test_what_is_malformed_waits_for_the_answers_before_it(talk: Serve) -> None:
    answer = await talk(get("/later") + get("/later") + b"nonsense\r\n\r\n")
    assert answer.count(b"GET /later?") == 2
    assert answer.endswith(b"\r\n\r\n400 Bad Request")


def test_a_read_of_tls_takes_the_memory_of_one_record(pki: Path) -> None:
    """However much the event loop asks for: uvloop asks for 256 KiB."""
    context = server.tls(server.Listen(certificate=pki / "apiserver.crt", key=pki / "apiserver.key"))
    incoming = ssl.MemoryBIO()
    served = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    tracemalloc.start()
    try:
        with pytest.raises(ssl.SSLWantReadError):  # the handshake's
            served.read(256 << 10)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()
