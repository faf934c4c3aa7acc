
# The script of the test; the part above is driver/lab.py.

lab = Lab(writer)
hosts = {machine.name: machine for machine in nodes}
start_all()

with subtest("the lab comes up, and is written to"):
    status = lab.wait_healthy()
    writer.wait_for_unit("halab-writer.service")
    lab.wait_writes()

with subtest("over TLS: no server answers in the clear, and every one answers redis_exporter"):
    assert status.primary is not None
    writer.fail(f"redis-cli -h {status.primary} ping")
    lab.wait_query("each server answers", "redis_up == 1", lambda seen: seen.keys() == hosts.keys())

with subtest("a handover makes the replica primary, and writing goes on"):
    writer.succeed("halab handover")
    after = lab.wait_failover(status)
    lab.wait_writes()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest("stopping the primary's unit hands over first"):
    assert status.primary is not None
    stopped = hosts[status.primary]
    stopped.succeed(f"systemctl stop {unit_of(status.primary)}")
    stopped.succeed(f"journalctl -u {unit_of(status.primary)} | grep -q 'handed over'")
    lab.wait_failover(status)
    lab.wait_writes()
    stopped.succeed(f"systemctl start {unit_of(stopped.name)}")
    status = lab.wait_healthy()

with subtest("every node is restarted, one after the other, replicas first"):
    sentinels = [name for name in hosts if name.startswith("sentinel-")]
    assert status.primary is not None
    for node in sentinels + status.others() + [status.primary]:
        hosts[node].succeed(f"systemctl restart {unit_of(node)}")
        lab.wait_healthy()
        lab.wait_writes()

with subtest("no write failed, and none is lost"):
    summary = lab.stop_writing()
    print(summary)
    assert "failed 0" in summary, summary
    print(lab.verify())
