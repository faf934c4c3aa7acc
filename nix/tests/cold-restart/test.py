
# The script of the test; the part above is driver/lab.py.

lab = Lab(writer)
hosts = {machine.name: machine for machine in nodes}
start_all()

with subtest("the lab comes up, and is written to"):
    before = lab.wait_healthy()
    writer.wait_for_unit("halab-writer.service")
    lab.wait_writes()

with subtest("a failover makes the other node primary"):
    assert before.primary is not None
    hosts[before.primary].crash()
    after = lab.wait_failover(before)
    lab.wait_writes()
    hosts[before.primary].start()
    lab.wait_healthy()

with subtest("every node crashes at once, and starts: the promoted one is still primary"):
    for node in nodes:
        node.crash()
    for node in nodes:
        node.start()
    status = lab.wait_healthy()
    assert status.primary == after.primary, status

with subtest("writing goes on, with the ledger of before"):
    # It may have given up meanwhile, and been started again.
    lab.wait_writes()

with subtest("no acknowledged record is lost"):
    print(lab.stop_writing())
    print(lab.verify())
