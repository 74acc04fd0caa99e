"""Names: what passes, and the exact words for what does not."""

import pytest

from kapi.objects import names


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.dns_subdomain, ["a", "a.b-c.d", "1", "a" * 253], ["", "A", "a_b", "-a", "a.", "a..b", "a" * 254, "a\n"]),
        (names.dns_label, ["a", "a-1"], ["", "a.b", "-", "x" * 64]),
        (names.dns1035_label, ["a", "a-1"], ["1a", "", "a-"]),
        (names.path_segment, ["a:b", "A b"], [".", "..", "a/b", "a%b"]),
        (names.qualified_name, ["a", "A.b_c", "x.y/z"], ["", "/a", "a/", "a/b/c", "X/a", "a" * 64]),
        (names.label_value, ["", "a", "A.b"], ["-", "a b", "x" * 64]),
        (names.config_key, ["a", ".x", "a..b"], ["", "a b", ".", "..", "..x", "x" * 254]),
        (names.env_name, ["A", "1", "a b", "-"], ["", "a=b", "é", "a\n"]),
        (names.c_identifier, ["_a1"], ["1a", "a-b"]),
        (names.port_name, ["http", "a-1"], ["1", "", "Http", "a--b", "-a", "a-", "a" * 16]),
        (names.percent, ["1%", "100%"], ["%", "1", "-1%"]),
        (names.wildcard_subdomain, ["*.a.b"], ["*", "a.*", "*a.b"]),
        (names.ip, ["1.2.3.4", "010.1.1.1", "::1", "::ffff:1.2.3.4"], ["1.2.3", "1.2.3.256", "::1%eth0", "", "x"]),
        (names.cidr, ["10.0.0.0/8", "10.1.2.3/8", "::/0"], ["10.0.0.0", "10.0.0.0/33", "/8", "10.0.0.0/-1"]),
        (names.domain_prefixed_path, ["acme.io/foo"], ["acme.io", "/x", "a/", "A/b", "a/b c"]),
        (names.http_header, ["X-A"], ["", "a b"]),
    ],
)
def test_what_passes(check: object, good: list[str], bad: list[str]) -> None:
    assert callable(check)
    assert [text for text in good if check(text)] == []
    assert [text for text in bad if not check(text)] == []


def test_a_prefix_may_end_in_a_dash() -> None:
    assert names.dns_label("web-", True) == []
    assert names.dns_label("web-") != []
    assert names.dns_subdomain("-", True) != []


def test_messages() -> None:
    assert names.dns_label("a.b") == ["must not contain dots"]
    assert names.dns_subdomain("x" * 254) == ["must be no more than 253 characters"]
    assert names.qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.qualified_name("")[0] == "name part must be non-empty"
    assert names.port_number(0) == ["must be between 1 and 65535, inclusive"]
    assert names.percent("x") == [
        "a valid percent string must be a numeric string followed by an ending '%' "
        "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
    ]
