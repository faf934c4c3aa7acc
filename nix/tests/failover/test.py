# The test script; driver/lab.py comes before it in the same file.

lab = Lab(hosts["writer"])
start_all()

with subtest("the lab comes up: one primary, its replica in sync, three Sentinels that agree"):
    lab.measure(hosts.values())
    status = lab.wait_healthy()
    assert status.roles == {"redis-a": "primary", "redis-b": "replica"}, status

with subtest("the writer's records are acknowledged"):
    hosts["writer"].wait_for_unit("halab-writer.service")
    lab.wait_writes()
    lab.wait_proxy()

ports_closed = "the lab's ports are open to its own machines and closed to any other address"
if FIREWALLED_PORTS:
    with subtest(ports_closed):
        lab.refuses_foreign_addresses(hosts, FIREWALLED_PORTS)
else:
    skip(ports_closed, "the firewall of these machines works by interface")

with subtest(
    "the primary's machine crashes with its Sentinel: the replica takes over and writing continues"
):
    before = lab.status()
    assert before.primary is not None
    crashed = before.primary
    hosts[crashed].crash()
    after = lab.wait_failover(before)
    lab.wait_writes()

with subtest("the proxy serves the new primary"):
    lab.wait_proxy()

with subtest("the crashed machine comes back as a promotable replica and the lab is healthy"):
    hosts[crashed].start()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status
    assert status.roles[crashed] == "replica", status

with subtest("the new primary's machine is isolated: a failover, and writing continues"):
    before = status
    assert before.primary is not None
    isolated = hosts[before.primary]
    isolated.block()
    after = lab.wait_failover(before)
    lab.wait_writes()

with subtest("back on the network, the old primary becomes a promotable replica"):
    isolated.unblock()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest("a Sentinel is killed, then the primary's server: a failover, and writing continues"):
    hosts["sentinel-3"].succeed(f"systemctl kill --signal=KILL {unit_of('sentinel-3')}")
    before = status
    assert before.primary is not None
    lab.kill_server(hosts[before.primary], before.primary)
    lab.wait_failover(before)
    lab.wait_writes()

with subtest("both restart by themselves and the lab is healthy"):
    status = lab.wait_healthy()
    lab.wait_writes()

with subtest("the replica's node and server are killed: its unit restarts the node"):
    [replica] = status.others()
    restarts = f"systemctl show --property=NRestarts --value {unit_of(replica)}"
    earlier = int(hosts[replica].succeed(restarts))
    hosts[replica].succeed(f"systemctl kill --signal=KILL {unit_of(replica)}")
    lab.wait_healthy()
    assert int(hosts[replica].succeed(restarts)) > earlier
    lab.wait_writes()

with subtest("no acknowledged record is lost on the primary or on the replica"):
    print(lab.stop_writing())
    print(lab.verify())

with subtest("negative control: verify reports a deleted record"):
    lab.verify_detects_loss()
