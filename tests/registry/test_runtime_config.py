"""--runtime-config, as stock reads it."""

import pytest

from kapi.registry import catalogue, runtime_config


def test_what_is_read() -> None:
    text = "api/all=true, batch/v1=false,/v1/configmaps=false,apps/v1/deployments,networking.k8s.io/v1beta1=T"
    read = runtime_config.parse(text)
    assert read == {
        "api/all": True, "batch/v1": False, "/v1/configmaps": False, "apps/v1/deployments": True, "networking.k8s.io/v1beta1": True,
    }  # fmt: skip
    assert runtime_config.parse(runtime_config.shown(read)) == read


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "runtime-config invalid key nonsense"),
        ("v1=true", "runtime-config invalid key v1"),
        ("a/b/c/d=true", "runtime-config invalid key a/b/c/d"),
        ("no.such/v1=true,api/v1=true", "unknown api groups api,no.such"),
        ("apps/v7=true", "group version apps/v7 that has not been registered"),
        ("apps/v1/Deployments=true", "invalid key apps/v1/Deployments"),
        ("apps/v1/pods=true", "invalid key apps/v1/pods"),
        ("apps/v1=perhaps", 'invalid value of apps/v1: perhaps, err: strconv.ParseBool: parsing "perhaps": invalid syntax'),
        ("api/beta=1", "invalid value api/beta=1"),
        ("api/all", "invalid value api/all="),
        ("api/all=false", "invalid key with only api/all=false"),
        (",", "runtime-config invalid key "),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        runtime_config.parse(text)
    assert why in str(refused.value)


def served(text: str) -> set[str]:
    return {f"{k.resource.api_version}/{k.resource.plural}" for k in catalogue.standard(runtime_config.parse(text), {})}


def test_the_most_exact_key_decides() -> None:
    plain = {f"{k.resource.api_version}/{k.resource.plural}" for k in catalogue.standard({}, {})}
    assert plain - served("apps/v1/deployments=false") == {"apps/v1/deployments"}
    assert {name for name in served("apps/v1=false,apps/v1/deployments=true") if name.startswith("apps/")} == {"apps/v1/deployments"}
    assert served("networking.k8s.io/v1beta1/ipaddresses=true") - plain == {"networking.k8s.io/v1beta1/ipaddresses"}
    assert served("api/all=true,api/alpha=false,api/beta=false") == plain
    assert "v1/pods" not in served("/v1=false")
