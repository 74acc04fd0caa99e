"""What is counted: admission, watches, requests under way, the time the loop was held."""


from kapi.client.client import Client
from kapi.objects.resource import CONFIG_MAPS
from tests.api.asking import MAPS, as_user, ask, config_map
from tests.moments import hold, turn


async def numbers(client: Client, start: str) -> dict[str, float]:
    text = (await ask(client, "GET", "/metrics")).body.decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)}


async def test_admission_is_timed(client: Client) -> None:
    await ask(client, "POST", MAPS.replace("default", "missing"), config_map("a") | {"metadata": {"name": "a"}})
    await client.create(CONFIG_MAPS, config_map("a"))
    found = await numbers(client, "apiserver_admission_controller_admission_duration_seconds_count")
    lifecycle = {key: value for key, value in found.items() if 'name="NamespaceLifecycle",operation="CREATE"' in key and "admit" in key}
    assert sorted(lifecycle.values())[0] == 1
    assert {part for key in lifecycle for part in ("true", "false") if f'rejected="{part}"' in key} == {"true", "false"}


async def test_all_plugins_together_are_timed(client: Client) -> None:
    await ask(client, "POST", MAPS.replace("default", "missing"), config_map("a") | {"metadata": {"name": "a"}})
    await client.create(CONFIG_MAPS, config_map("a"))
    found = await numbers(client, "apiserver_admission_step_admission_duration_seconds_count")
    admitted = {key: value for key, value in found.items() if 'operation="CREATE"' in key and 'type="admit"' in key}
    assert [value for key, value in admitted.items() if 'rejected="true"' in key] == [1]
    assert [value > 1 for key, value in admitted.items() if 'rejected="false"' in key] == [True]


async def test_who_asks_and_whether_they_may_is_counted(client: Client) -> None:
    nobody = as_user(client, "jane@example.com")
    assert (await ask(nobody, "GET", MAPS)).code == 403
    users = await numbers(client, "authenticated_user_requests")
    assert users['authenticated_user_requests{username="email_id"}'] == 1
    decided = await numbers(client, "authorization_attempts_total")
    assert decided['authorization_attempts_total{result="no-opinion"}'] == 1
    assert (await numbers(client, "authentication_attempts"))['authentication_attempts{result="success"}'] >= 2


async def test_the_indicator_of_the_service_level_follows_the_durations(client: Client) -> None:
    await ask(client, "GET", f"{MAPS}/nothing")
    await ask(client, "POST", f"{MAPS}?dryRun=All", config_map("a"))
    for name, buckets in (("request_duration", 24), ("request_sli_duration", 22)):
        found = await numbers(client, f"apiserver_{name}_seconds")
        gets = {key: value for key, value in found.items() if 'resource="configmaps"' in key and 'verb="GET"' in key}
        assert [value for key, value in gets.items() if "_count" in key] == [1]
        assert sum("_bucket" in key for key in gets) == buckets
    assert not any("dry_run" in key for key in found)


async def test_answers_have_sizes(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", {"k": "x" * 2000}))
    got = await ask(client, "GET", f"{MAPS}/a")
    sizes = {key: value for key, value in (await numbers(client, "apiserver_response_sizes")).items() if 'verb="GET"' in key}
    assert [value for key, value in sizes.items() if "_sum" in key and 'resource="configmaps"' in key] == [len(got.body)]


async def test_deprecated_apis_are_told(client: Client) -> None:
    await ask(client, "GET", "/api/v1/namespaces/default/endpoints")
    shown = await numbers(client, "apiserver_requested_deprecated_apis")
    assert list(shown) == [
        'apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"}'
    ]


async def test_a_watch_runs_long_and_its_events_are_counted(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    stream = client.watch(CONFIG_MAPS, "default", version="0")
    await anext(stream)
    running = await numbers(client, "apiserver_longrunning_requests")
    assert [value for key, value in running.items() if 'resource="configmaps"' in key and 'verb="WATCH"' in key] == [1]
    inflight = await numbers(client, "apiserver_current_inflight_requests")
    assert inflight['apiserver_current_inflight_requests{request_kind="readOnly"}'] == 1, "the one that asks"
    sent = await numbers(client, "apiserver_watch_events_total")
    assert [value for key, value in sent.items() if 'resource="configmaps"' in key] == [1]


async def test_verbs_have_stocks_names(client: Client) -> None:
    apply = {"content_type": "application/apply-patch+yaml"}
    await ask(client, "PATCH", f"{MAPS}/a?fieldManager=me", config_map("a"), **apply)
    await ask(client, "PATCH", f"{MAPS}/a?fieldManager=me&dryRun=All", config_map("a"), **apply)
    counts = await numbers(client, "apiserver_request_total")
    shown = [(key, value) for key, value in counts.items() if 'verb="APPLY"' in key]
    assert [('dry_run="All"' in key, 'code="201"' in key, value) for key, value in shown] == [(False, True, 1), (True, False, 1)]


async def test_a_held_loop_is_noticed(client: Client) -> None:
    await ask(client, "GET", MAPS)
    await turn()
    hold(0.1)
    await turn()
    await turn()
    held = await numbers(client, "kapi_event_loop_lag_seconds")
    assert held["kapi_event_loop_lag_seconds_sum"] > 0.05
    assert held['kapi_event_loop_lag_seconds_bucket{le="0.05"}'] < held["kapi_event_loop_lag_seconds_count"]
