# The test script; driver/lab.py comes before it in the same file.

lab = Lab(hosts["writer"])
start_all()

with subtest("the lab comes up and the writer writes"):
    lab.measure(hosts.values())
    lab.wait_healthy()
    lab.wait_writes()

with subtest("Prometheus reaches every node, the writer and the exporters"):
    nodes = len(hosts.keys() - {"writer", "proxy", "monitoring"})
    targets: dict[str, float] = {"halab-node": nodes, "redis": nodes}
    targets |= {"halab-writer": 1, "prometheus": 1}
    others = {"cadvisor": CADVISORS, "halab-proxy": PROXIES}
    lab.wait_targets(targets | {job: count for job, count in others.items() if count})
    lab.wait_query(
        "redis_exporter reaches every server",
        "max_over_time(redis_up[15s]) == 1",
        lambda seen: len(seen) == 5,
    )
    lab.wait_query("writing", "lab:acknowledged:rate5s", lambda seen: sum(seen.values()) > 0)

with subtest("the firewall lets another machine reach Prometheus but not redis_exporter"):
    seen = lab.reached(hosts["redis-a"], ["monitoring:9090", "monitoring:9121"])
    assert seen == {"monitoring:9090"}, f"another machine reaches {sorted(seen)}"
    seen = lab.reached(hosts["monitoring"], ["monitoring:9121"])
    assert seen == {"monitoring:9121"}, f"the machine itself reaches {sorted(seen)}"

with subtest("no alert fires while nothing is wrong"):
    lab.wait_quiet()

with subtest("every query of the dashboards is answered with a series"):
    # Neither a server nor a unit of these machines has a limit of its memory.
    unlimited = ["redis_memory_max_bytes", "container_spec_memory_limit_bytes"]
    absent = unlimited + NOT_EXPORTED + ([] if CADVISORS else ["container_"])
    absent += [] if PROXIES else ["halab_proxy_"]
    asked = [query for query in DASHBOARD_QUERIES if not any(name in query for name in absent)]
    assert len(asked) > 50, asked
    for prefix in NOT_EXPORTED:
        there = lab.query(f'count({{__name__=~"{prefix}.*"}})')
        assert there == {}, f"these machines' redis_exporter has {prefix}: {there}"
    lab.wait_series(asked)

with subtest("the primary's machine crashes: alerts fire for its targets and for the failover"):
    before = lab.status()
    assert before.primary is not None
    crashed = before.primary
    hosts[crashed].crash()
    after = lab.wait_failover(before)
    lab.wait_query(
        "targets down", 'up{job="halab-node"} == 0', lambda seen: crashed in seen and len(seen) == 2
    )
    lab.wait_firing(
        "TargetDown and FailedOver", lambda firing: {"TargetDown", "FailedOver"} <= firing
    )
    lab.wait_query("the epoch", "lab:epoch:max", lambda seen: list(seen.values()) == [after.epoch])

with subtest("the machine comes back and no alert fires"):
    hosts[crashed].start()
    lab.wait_healthy()
    lab.wait_quiet()

grafana_serves = "Grafana serves its dashboards without login and its data source answers"
if GRAFANA:
    with subtest(grafana_serves):
        assert len(lab.dashboards()) >= 3, lab.dashboards()
        assert lab.ask_grafana("up") > 0
        # Changes need a login.
        hosts["writer"].fail(
            "curl -fsS -X DELETE http://monitoring:3000/api/dashboards/uid/" + lab.dashboards()[0]
        )
else:
    skip(grafana_serves, "these machines have no Grafana")

with subtest("no acknowledged record is lost"):
    print(lab.stop_writing())
    print(lab.verify())
