# The script of the test; the part above is driver/lab.py.

lab = Lab(hosts["writer"])
start_all()

with subtest("the lab comes up, and is written to"):
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

with subtest("all machines crash at once, and start: the promoted node is still primary"):
    for machine in unique(hosts.values()):
        machine.crash()
    start_all()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest("writing goes on, with the ledger of before"):
    lab.wait_writes()

with subtest(
    "all machines are shut down, and start, that of the replica with a new disk: the primary is the same"
):
    # With the seeded one's copy goes what its Sentinel knew: it begins with what lab.toml says.
    renewed = hosts[before.primary]
    lab.stop_writing()
    for machine in unique(hosts.values()):
        machine.shutdown()
    renew_disk(renewed)
    start_all()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status
    assert status.roles[before.primary] == "replica", status

with subtest("writing goes on, and the new disk's copy is whole: no acknowledged record is lost"):
    lab.wait_writes()
    print(lab.stop_writing())
    print(lab.verify())
