
# The script of the test; the part above is driver/lab.py.

lab = Lab(writer)
hosts = {machine.name: machine for machine in machines}
start_all()

with subtest("the lab comes up: one primary, its replica in sync, three Sentinels that agree"):
    status = lab.wait_healthy()
    assert status.roles == {"redis-a": "primary", "redis-b": "replica"}, status

with subtest("the writer's records are acknowledged"):
    writer.wait_for_unit("redis-ha-lab-writer.service")
    lab.wait_writes()

with subtest("the primary's machine crashes: the replica takes over, and writing goes on"):
    before = lab.status()
    assert before.primary is not None
    crashed = hosts[before.primary]
    crashed.crash()
    after = lab.wait_failover(before)
    lab.wait_writes()

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

with subtest("no acknowledged record is lost, on the primary or on the replica"):
    print(lab.stop_writing())
    print(lab.verify())

with subtest("a record that is taken away is missed"):
    lab.verify_finds_a_loss()
