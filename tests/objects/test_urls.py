"""URLs read as Go reads them: what is refused, and in which words."""

import pytest

from kapi.objects import urls


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://h/\x00", "net/url: invalid control character in URL"),
        ("https://h/a\nb", "net/url: invalid control character in URL"),
        ("https://h\t/a", "net/url: invalid control character in URL"),
        ("https://h/\x7f", "net/url: invalid control character in URL"),
        ("https://h/%zz", 'invalid URL escape "%zz"'),
        ("https://h/%4", 'invalid URL escape "%4"'),
        ("https://h%41/", 'invalid URL escape "%41"'),
        ("https://h h/", 'invalid character " " in host name'),
        ("https://h\\x/", 'invalid character "\\\\" in host name'),
        ("https://h:port/", 'invalid port ":port" after host'),
        ("https://[::1/", "missing ']' in host"),
        ("https://a b@h/", "net/url: invalid userinfo"),
        ("://h/", "missing protocol scheme"),
        ("1http://h/", "first path segment in URL cannot contain colon"),
    ],
)
def test_what_is_no_url(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^parse ") as caught:
        urls.parse(text)
    assert str(caught.value).endswith(f": {why}")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("HTTPS://u:p@h.example:8443/a/b?q=1#f", ("https", "u:p", "h.example:8443", "/a/b", "q=1", "f")),
        ("https://[fd00::1]:443", ("https", None, "[fd00::1]:443", "", "", "")),
        ("mailto:somebody", ("mailto", None, "", "", "", "")),
        ("/only/a/path", ("", None, "", "/only/a/path", "", "")),
        ("//h/p", ("", None, "h", "/p", "", "")),
        ("https://h:/%41", ("https", None, "h:", "/%41", "", "")),
        ("", ("", None, "", "", "", "")),
    ],
)
def test_the_parts_of_one(text: str, parts: tuple[str, ...]) -> None:
    assert urls.parse(text) == parts


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        (b"", b"/"), (b"/", b"/"), (b"/a/../b//c", b"/b/c"), (b"/../../etc", b"/etc"),
        (b"//h/x", b"/h/x"), (b"/a/./b/", b"/a/b/"), (b"/..", b"/"),
    ],
)  # fmt: skip
def test_paths_are_cleaned(path: bytes, clean: bytes) -> None:
    assert urls.joined(path) == clean


def test_paths_are_escaped() -> None:
    assert urls.escaped(b"/a b/\xff?#%/\xc3\xbc;x=1,2@:$&+!'()*") == "/a%20b/%FF%3F%23%25/%C3%BC;x=1,2@:$&+%21%27%28%29%2A"
