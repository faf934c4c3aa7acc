# The script of the test; the part above is driver/lab.py.

lab = Lab(hosts["writer"])
start_all()

with subtest("the lab comes up: one primary, its replica in sync, three Sentinels that agree"):
    lab.measure(hosts.values())
    status = lab.wait_healthy()
    assert status.roles == {"redis-a": "primary", "redis-b": "replica"}, status

with subtest("the writer's records are acknowledged"):
    hosts["writer"].wait_for_unit("halab-writer.service")
    lab.wait_writes()

with subtest("the lab's ports are open to its own machines, and closed to any other address"):
    if CLOSED_TO_STRANGERS:
        lab.refuses_strangers(hosts, CLOSED_TO_STRANGERS)
    else:
        print("left out: the firewall of these machines goes by interfaces")

with subtest(
    "the primary's machine crashes, with its Sentinel: the replica takes over, and writing goes on"
):
    before = lab.status()
    assert before.primary is not None
    crashed = before.primary
    hosts[crashed].crash()
    after = lab.wait_failover(before)
    lab.wait_writes()

with subtest(
    "the crashed machine comes back as a promotable replica, and the lab may lose a node again"
):
    hosts[crashed].start()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status
    assert status.roles[crashed] == "replica", status

with subtest("the new primary's machine is cut off: it is replaced, and writing goes on"):
    before = status
    assert before.primary is not None
    isolated = hosts[before.primary]
    isolated.block()
    after = lab.wait_failover(before)
    lab.wait_writes()

with subtest("back on the network, the old primary gives up its role, and is promotable"):
    isolated.unblock()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest(
    "a Sentinel is killed, and then the primary's server: a failover all the same, and writing goes on"
):
    hosts["sentinel-3"].succeed(f"systemctl kill --signal=KILL {unit_of('sentinel-3')}")
    before = status
    assert before.primary is not None
    lab.kill_server(hosts[before.primary], before.primary)
    lab.wait_failover(before)
    lab.wait_writes()

with subtest("both are back without anybody's help, and the lab is whole again"):
    status = lab.wait_healthy()
    lab.wait_writes()

with subtest("the replica's node is killed with its server: its unit starts it again"):
    [replica] = status.others()
    restarts = f"systemctl show --property=NRestarts --value {unit_of(replica)}"
    earlier = int(hosts[replica].succeed(restarts))
    hosts[replica].succeed(f"systemctl kill --signal=KILL {unit_of(replica)}")
    lab.wait_healthy()
    assert int(hosts[replica].succeed(restarts)) > earlier
    lab.wait_writes()

with subtest("no acknowledged record is lost, on the primary or on the replica"):
    print(lab.stop_writing())
    print(lab.verify())

with subtest("a record that is taken away is missed"):
    lab.verify_finds_a_loss()
