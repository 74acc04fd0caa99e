"""What is counted: admission, watches, requests under way, the time the loop was held."""


from kapi.client.client import Client
from kapi.objects.resource import CONFIG_MAPS
from tests.api.asking import MAPS, ask, config_map
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
