
# The script of the test; the part above is driver/lab.py.

lab = Lab(writer)
hosts = {machine.name: machine for machine in nodes}
start_all()

with subtest("the lab comes up: one primary, its replica in sync, three Sentinels that agree"):
    status = lab.wait_healthy()
    assert status.roles == {"redis-a": "primary", "redis-b": "replica"}, status

with subtest("the writer's records are acknowledged"):
    writer.wait_for_unit("halab-writer.service")
    lab.wait_writes()

with subtest("Prometheus reaches every node, the writer and the exporters, and promtool's rules are loaded"):
    monitoring.wait_for_unit("prometheus.service")
    monitoring.wait_for_unit("grafana.service")
    lab.wait_query("nothing is down", 'count(up) - sum(up)', lambda seen: list(seen.values()) == [0.0])
    lab.wait_query("each server answers redis_exporter", "redis_up == 1", lambda seen: seen.keys() == hosts.keys())
    lab.wait_query("each node's unit is seen by its cAdvisor", "container_memory_rss > 0", lambda seen: seen.keys() == hosts.keys())

with subtest("the primary's machine crashes: the replica takes over, and writing goes on"):
    before = lab.status()
    assert before.primary is not None
    crashed = hosts[before.primary]
    crashed.crash()
    after = lab.wait_failover(before)
    lab.wait_writes()

with subtest("Prometheus saw it: the epoch has risen, the crashed machine is down, records are acknowledged"):
    epoch = after.epoch
    lab.wait_query("the epoch", "lab:epoch:max", lambda seen: list(seen.values()) == [epoch])
    lab.wait_query("who is down", 'up{job="halab-node"} == 0', lambda seen: seen.keys() == {crashed.name})
    lab.wait_query("writing", "lab:acknowledged:rate5s", lambda seen: sum(seen.values()) > 0)

with subtest("the crashed machine comes back as a replica, and the lab may lose a node again"):
    crashed.start()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status
    assert status.roles[crashed.name] == "replica", status

with subtest("the new primary is cut off: it is replaced, and writing goes on"):
    before = status
    assert before.primary is not None
    isolated = hosts[before.primary]
    isolated.block()
    after = lab.wait_failover(before)
    lab.wait_writes()

with subtest("back on the network, the old primary gives up its role"):
    isolated.unblock()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest("with one Sentinel lost, the primary's crash still ends in a failover"):
    sentinel_1.crash()
    lab.wait_writes()
    before = lab.status()
    assert before.primary is not None
    crashed = hosts[before.primary]
    crashed.crash()
    lab.wait_failover(before)
    lab.wait_writes()

with subtest("with everything back, the lab is whole again"):
    sentinel_1.start()
    crashed.start()
    lab.wait_healthy()
    lab.wait_writes()

with subtest("Grafana serves its dashboards to anyone, and their data source answers"):
    assert len(lab.dashboards()) >= 3, lab.dashboards()
    assert lab.ask_grafana("up") > 0
    # Nobody may change anything.
    writer.fail("curl -fsS -X DELETE http://monitoring:3000/api/dashboards/uid/" + lab.dashboards()[0])

with subtest("no acknowledged record is lost, on the primary or on the replica"):
    print(lab.stop_writing())
    print(lab.verify())

with subtest("a record that is taken away is missed"):
    lab.verify_finds_a_loss()
