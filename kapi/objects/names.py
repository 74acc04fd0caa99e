"""Validation of names and other short strings: each check returns stock's messages, [] if the string is valid.

`dns_label("a.b")` is ["must not contain dots"]. Callers add the field path to a message (kapi.objects.causes). Checks of metadata.name have
the parameter `prefix`: the string is a generateName, whose trailing dash is allowed. Lengths are in bytes, as in Go.
"""

import ipaddress
import re
from collections.abc import Callable

from kapi.objects import integers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_UNDERSCORED = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

EMPTY = "must be non-empty"
PORT_RANGE = "must be between 1 and 65535, inclusive"
BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
BAD_PREFIXED_PATH = 'must be a domain-prefixed path (such as "acme.io/foo")'


def regex_message(what: str, pattern: str, *examples: str) -> str:
    """Stock's message for a string that does not match: the rule, examples, the pattern."""
    if not examples:
        return f"{what} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{what} (e.g. {shown}regex used for validation is '{pattern}')"


_ALNUM_ENDS = "must start and end with an alphanumeric character"
_BAD_LABEL = regex_message(
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {_ALNUM_ENDS}", _LABEL, "my-name", "123-abc"
)
_BAD_SUBDOMAIN = regex_message(
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and {_ALNUM_ENDS}",
    _SUBDOMAIN,
    "example.com",
)
_UNDERSCORED_SUBDOMAIN = rf"{_UNDERSCORED}(\.{_UNDERSCORED})*"
_BAD_UNDERSCORED = regex_message(
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and {_ALNUM_ENDS}",
    _UNDERSCORED_SUBDOMAIN,
    "example.com",
)
_BAD_LABEL_1035 = regex_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character,"
    " and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_BAD_WILDCARD = regex_message(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of"
    " lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    rf"\*\.{_SUBDOMAIN}",
    "*.example.com",
)
_BAD_QUALIFIED = regex_message(
    f"must consist of alphanumeric characters, '-', '_' or '.', and {_ALNUM_ENDS}", _QUALIFIED, "MyName", "my.name", "123-abc"
)
_BAD_LABEL_VALUE = regex_message(
    f"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and {_ALNUM_ENDS}",
    f"({_QUALIFIED})?",
    "MyValue",
    "my_value",
    "12345",
)
_BAD_CONFIG_KEY = regex_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "[-._a-zA-Z0-9]+", "key.name", "KEY_NAME", "key-name"
)
_BAD_C_IDENTIFIER = regex_message(
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
    "[A-Za-z_][A-Za-z0-9_]*",
    "my_name",
    "MY_NAME",
    "MyName",
)
_BAD_PERCENT = regex_message("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", "1%", "93%")
_BAD_HEADER = regex_message("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name")
_BAD_RELAXED_ENV_NAME = "a valid environment variable name must consist only of printable ASCII characters other than '='"

_label = re.compile(_LABEL).fullmatch
_subdomain = re.compile(_SUBDOMAIN).fullmatch
_label_1035 = re.compile(_LABEL_1035).fullmatch
_underscored = re.compile(_UNDERSCORED_SUBDOMAIN).fullmatch
_wildcard = re.compile(rf"\*\.{_SUBDOMAIN}").fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch
_config_key = re.compile("[-._a-zA-Z0-9]+").fullmatch
_printable = re.compile(r"[ -<>-~]+").fullmatch
_c_identifier = re.compile("[A-Za-z_][A-Za-z0-9_]*").fullmatch
_percent = re.compile("[0-9]+%").fullmatch
_header = re.compile("[-A-Za-z0-9]+").fullmatch
_http_path = re.compile(_HTTP_PATH).fullmatch
_port_name = re.compile("[-a-z0-9]+").fullmatch

Matcher = Callable[[str], re.Match[str] | None]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def max_length(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def mask(text: str, prefix: bool) -> str:
    """A generateName prefix as it is validated: without its trailing dash."""
    return text[:-2] + "a" if prefix and len(text) > 1 and text.endswith("-") else text


def _check(text: str, limit: int, matches: Matcher, message: str) -> list[str]:
    out = [max_length(limit)] if _size(text) > limit else []
    if not matches(text):
        out.append(message)
    return out


def dns_subdomain(name: str, prefix: bool = False) -> list[str]:
    """RFC 1123 subdomain, at most 253 bytes: the usual metadata.name."""
    return _check(mask(name, prefix), 253, _subdomain, _BAD_SUBDOMAIN)


def dns_label(name: str, prefix: bool = False) -> list[str]:
    """RFC 1123 label, at most 63 bytes: container and namespace names."""
    name = mask(name, prefix)
    return _check(name, 63, _label, "must not contain dots" if _subdomain(name) else _BAD_LABEL)


def dns1035_label(name: str, prefix: bool = False) -> list[str]:
    """RFC 1035 label, at most 63 bytes: begins with a letter."""
    return _check(mask(name, prefix), 63, _label_1035, _BAD_LABEL_1035)


def dns_subdomain_with_underscore(name: str, prefix: bool = False) -> list[str]:
    return _check(mask(name, prefix), 253, _underscored, _BAD_UNDERSCORED)


def wildcard_subdomain(name: str) -> list[str]:
    """'*.example.com'."""
    return _check(name, 253, _wildcard, _BAD_WILDCARD)


def path_segment(name: str, prefix: bool = False) -> list[str]:
    """A name that only has to be usable as a path segment of a URL (RBAC roles, for example)."""
    if not prefix and name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in name]


def any_name(name: str, prefix: bool = False) -> list[str]:
    """Accepts every string."""
    return []


def qualified_name(text: str) -> list[str]:
    """'name' or 'example.com/name': label keys, condition types, resource names."""
    name, out = text, []
    head, slash, tail = text.partition("/")
    if slash:
        if "/" in tail:
            return [f"a qualified name {_BAD_QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
        name = tail
        out = [f"prefix part {message}" for message in dns_subdomain(head)] if head else [f"prefix part {EMPTY}"]
    if not name:
        out.append(f"name part {EMPTY}")
    elif _size(name) > 63:
        out.append(f"name part {max_length(63, 'bytes')}")
    if not _qualified(name):
        out.append(f"name part {_BAD_QUALIFIED}")
    return out


label_key = qualified_name


def label_value(text: str) -> list[str]:
    out = [max_length(63, "bytes")] if _size(text) > 63 else []
    if text and not _qualified(text):
        out.append(_BAD_LABEL_VALUE)
    return out


def _directory_prefix(text: str) -> list[str]:
    if text in (".", ".."):
        return [f"must not be '{text}'"]
    return ["must not start with '..'"] if text.startswith("..") else []


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret: it may become a file name."""
    return _check(text, 253, _config_key, _BAD_CONFIG_KEY) + _directory_prefix(text)


def env_name(text: str) -> list[str]:
    """An environment variable's name: since v1.34 any printable ASCII but '='."""
    if not text:
        return [f"environment variable name {EMPTY}"]
    return [] if _printable(text) else [_BAD_RELAXED_ENV_NAME]


def c_identifier(text: str) -> list[str]:
    return [] if _c_identifier(text) else [_BAD_C_IDENTIFIER]


def percent(text: str) -> list[str]:
    return [] if _percent(text) else [_BAD_PERCENT]


def http_header(text: str) -> list[str]:
    return [] if _header(text) else [_BAD_HEADER]


def port_name(text: str) -> list[str]:
    """IANA service name (RFC 6335), at most 15 characters."""
    out = [max_length(15)] if _size(text) > 15 else []
    if not _port_name(text):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        out.append("must contain at least one letter (a-z)")
    if "--" in text:
        out.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        out.append("must not begin or end with a hyphen")
    return out


def in_range(value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [PORT_RANGE]


def domain_prefixed_path(text: str) -> list[str]:
    """'acme.io/foo'; the caller rejects the empty string."""
    host, _, path = text.partition("/")
    if not host or not path:
        return [BAD_PREFIXED_PATH]
    if not _http_path(path):
        return [*dns_subdomain(host), regex_message("Invalid path", _HTTP_PATH)]
    return dns_subdomain(host)


def fully_qualified(text: str, segments: int = 3) -> list[str]:
    """'a.example.com': a subdomain of at least so many parts (2 or 3)."""
    bad = dns_subdomain(text)
    if bad:
        return [",".join(bad)]
    words = {2: "two", 3: "three"}[segments]
    return [] if text.count(".") + 1 >= segments else [f"should be a domain with at least {words} segments separated by dots"]


def parse_ip(text: str) -> Address | None:
    """An IP address as stock's lenient parser reads it: leading zeros in IPv4 are decimal; no zones."""
    try:
        if ":" in text:
            return None if "%" in text else ipaddress.IPv6Address(text)
        parts = text.split(".")
        if len(parts) != 4 or not all(p.isascii() and p.isdigit() for p in parts):
            return None
        return ipaddress.IPv4Address(".".join(str(integers.parse(p)) for p in parts))
    except ValueError:
        return None


def parse_cidr(text: str) -> Network | None:
    """A network; host bits may be set (they are cleared)."""
    address, slash, bits = text.partition("/")
    ip = parse_ip(address)
    if ip is None or not slash or not (bits.isascii() and bits.isdigit()) or integers.parse(bits) > ip.max_prefixlen:
        return None
    return ipaddress.ip_network((ip, integers.parse(bits)), strict=False)


def ip(text: str) -> list[str]:
    return [] if parse_ip(text) is not None else [BAD_IP]


def cidr(text: str) -> list[str]:
    return [] if parse_cidr(text) is not None else [BAD_CIDR]
