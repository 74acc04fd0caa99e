from kapi.registry.kinds.core.component_statuses import ComponentStatusStrategy


def test_rows() -> None:
    kind = ComponentStatusStrategy()
    conditions = [{"type": "Healthy", "status": "True", "message": "ok"}]
    assert kind.row({"metadata": {"name": "etcd-0"}, "conditions": conditions}, 0.0) == ["etcd-0", "Healthy", "ok", ""]
    assert kind.row({"metadata": {"name": "scheduler"}}, 0.0) == ["scheduler", "Unknown", "", ""]
    conditions = [{"type": "Healthy", "status": "Unknown"}]
    assert kind.row({"metadata": {"name": "x"}, "conditions": conditions}, 0.0) == ["x", "Unhealthy", "", ""]
