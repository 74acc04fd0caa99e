"""Links through a proxy: which URLs are changed, in which tags, however the page is cut into pieces."""

import gzip
import time
import zlib

import pytest

from kapi import limits
from kapi.api import links

LED = links.Links("/api/v1/namespaces/d/services/s/proxy", "10.0.0.1:8080", "localhost:8001")
P = LED.prefix


@pytest.mark.parametrize(("url", "led"), [
    ("/a/b?c=d#e", f"{P}/a/b?c=d#e"), ("/", f"{P}/"), ("/a/../b//c/", f"{P}/b/c/"), ("a/b", "a/b"), ("", ""), ("#x", "#x"), ("?q", "?q"),
    ("http://10.0.0.1:8080/a", f"{P}/a"), ("https://10.0.0.1/a", "https://10.0.0.1/a"), ("//10.0.0.1:8080/a", f"{P}/a"),
    ("http://localhost:8001/a", f"http://localhost:8001{P}/a"), ("http://elsewhere/a", "http://elsewhere/a"), (f"{P}/a", f"{P}/a"),
    ("/%2e%20", f"{P}/%2e%20"),
    ("mailto:a@b", "mailto:a@b"), ("javascript:void(0)", "javascript:void(0)"), ("http://[::1/", "http://[::1/"),
])  # fmt: skip
def test_urls(url: str, led: str) -> None:
    assert LED.url(url) == led


PAGE = (
    "<!DOCTYPE html><HTML><!-- <a href='/no'> --><a class=x HREF='/a?b&amp;c'>/text</a><img src=/i.png alt='> /no'>"
    '<script src="/s.js">var x = "<a href=\'/no\'>";</script><a data-href="/no" href="b">b</a><p href="/no">1 < 2 <a\n href = "/z"/></p>'
    "<a title='\"' href=\"/q\">é</a><style>a:after{content:'<a href=/no>'}</STYLE><form action=/f></form><a href='/end"
)
LED_PAGE = (
    f"<!DOCTYPE html><HTML><!-- <a href='/no'> --><a class=x HREF=\"{P}/a?b&amp;c\">/text</a><img src=\"{P}/i.png\" alt='> /no'>"
    f'<script src="{P}/s.js">var x = "<a href=\'/no\'>";</script><a data-href="/no" href="b">b</a><p href="/no">1 < 2 '
    f'<a\n href="{P}/z"/></p>'
    f"<a title='\"' href=\"{P}/q\">é</a><style>a:after{{content:'<a href=/no>'}}</STYLE><form action=\"{P}/f\"></form><a href='/end"
)


def fed(page: links.Page, data: bytes, size: int) -> bytes:
    out = [b"".join(page.feed(data[at : at + size])) for at in range(0, len(data), size)]
    return b"".join([*out, *page.feed(b"", last=True)])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_page_in_pieces(size: int) -> None:
    assert fed(links.Page(LED), PAGE.encode(), size).decode() == LED_PAGE


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_packed_page(encoding: str, size: int) -> None:
    window = {"gzip": 31, "deflate": -15}[encoding]
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    page = links.page(LED, encoding)
    assert page is not None
    out = fed(page, packer.compress(PAGE.encode()) + packer.flush(), size)
    assert zlib.decompress(out, window).decode() == LED_PAGE
    assert links.page(LED, "br") is None


COSTLY = [b"<", b"<a ", b"<a '", b"<a \"'", b"<a x", b"<!--", b"<title></title>", b"<a href=/x ", b"<a a=/ ", b"<<'>", b"<a b>", b"<p>"]


@pytest.mark.parametrize("text", COSTLY)
def test_no_page_takes_long(text: bytes) -> None:
    """64 KiB at a time, as they come from a backend."""
    page, piece = links.Page(LED), (text * (1 << 16))[: 1 << 16]
    began, longest = time.process_time(), 0.0
    for _ in range(2):
        for out in page.feed(piece):
            assert len(out) <= 10 * len(piece)
            began, longest = time.process_time(), max(longest, time.process_time() - began)
    assert longest < 0.05
    assert len(page._rest) <= limits.LINK_TAG_BYTES


@pytest.mark.slow
def test_a_small_piece_may_be_a_long_page() -> None:
    page = links.page(LED, "gzip")
    assert page is not None
    steps = [len(step) for step in page.feed(gzip.compress(b"<p>" * 1_000_000))]
    assert len(steps) >= 700
    assert max(steps) < 1 << 16
