# The test script; driver/lab.py comes before it in the same file.

lab = Lab(hosts["writer"])
start_all()

with subtest("the lab comes up and the writer writes"):
    lab.measure(hosts.values())
    status = lab.wait_healthy()
    hosts["writer"].wait_for_unit("halab-writer.service")
    lab.wait_writes()
    lab.wait_proxy()

with subtest("TLS: the primary does not answer without it"):
    assert status.primary is not None
    # The controls: redis-cli runs here, and a connection is accepted, so TLS is what it lacks.
    hosts["writer"].succeed("redis-cli --version")
    taken = lab.reached(hosts["writer"], [f"{status.primary}:6379"])
    assert taken, f"{status.primary} accepts no connection"
    hosts["writer"].fail(f"redis-cli -h {status.primary} ping")

with subtest("a handover makes the replica primary and writing continues"):
    after = lab.hand_over(status)
    lab.wait_writes()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest("stopping the primary's unit hands over first"):
    assert status.primary is not None
    stopped = status.primary
    hosts[stopped].succeed(f"systemctl stop {unit_of(stopped)}")
    journal = hosts[stopped].succeed(f"journalctl -b -u {unit_of(stopped)} -o cat | tail -n 60")
    assert handed_over_first(journal), journal
    lab.wait_failover(status)
    lab.wait_writes()
    hosts[stopped].succeed(f"systemctl start {unit_of(stopped)}")
    status = lab.wait_healthy()

with subtest("the replica's machine shuts down and starts, and writing continues"):
    assert status.primary is not None
    [replica] = status.others()
    hosts[replica].shutdown()
    lab.wait_writes()
    hosts[replica].start()
    status = lab.wait_healthy()

with subtest("the primary's machine shuts down after a handover and starts, and writing continues"):
    assert status.primary is not None
    hosts[status.primary].shutdown()
    lab.wait_failover(status)
    lab.wait_writes()
    hosts[status.primary].start()
    lab.wait_healthy()

with subtest("no write has failed so far"):
    summary = lab.stop_writing()
    print(summary)
    assert "failed 0" in summary, summary

with subtest(
    "the writer's machine, with a Sentinel, shuts down and starts: the writer continues its ledger"
):
    hosts["writer"].shutdown()
    hosts["writer"].start()
    lab.wait_healthy()
    lab.wait_writes()

with subtest("no write has failed and no acknowledged record is lost"):
    summary = lab.stop_writing()
    print(summary)
    assert "failed 0" in summary, summary
    print(lab.verify())
