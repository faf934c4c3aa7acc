# The test script; driver/lab.py comes before it in the same file.

lab = Lab(hosts["writer"])
start_all()

with subtest("the lab comes up and the writer writes"):
    lab.measure(hosts.values())
    before = lab.wait_healthy()
    hosts["writer"].wait_for_unit("halab-writer.service")
    lab.wait_writes()

with subtest("a failover makes the other node primary"):
    assert before.primary is not None
    hosts[before.primary].crash()
    after = lab.wait_failover(before)
    lab.wait_writes()
    hosts[before.primary].start()
    lab.wait_healthy()

with subtest("all machines crash at once and start: the failover is not forgotten"):
    for machine in unique(hosts.values()):
        machine.crash()
    start_all()
    now = lab.wait_healthy()
    # The last second of a primary may not be on its disk. If its replica's disk has more, that one
    # is promoted: a further failover, and not the primary of lab.toml.
    assert now.primary is not None
    assert now.primary == after.primary or now.epoch > after.epoch, now

with subtest("the writer continues with the same ledger"):
    lab.wait_writes()

with subtest(
    "all machines shut down and start, the replica's with a new disk: the primary stays the same"
):
    # The new disk loses the state of its Sentinel too, which starts with the primary of lab.toml.
    [replica] = now.others()
    renewed = hosts[replica]
    lab.stop_writing()
    for machine in unique(hosts.values()):
        machine.shutdown()
    renew_disk(renewed)
    start_all()
    status = lab.wait_healthy()
    assert status.primary == now.primary, status
    assert status.roles[replica] == "replica", status

with subtest("writing continues and no acknowledged record is lost, also on the new disk"):
    lab.wait_writes()
    print(lab.stop_writing())
    print(lab.verify())
