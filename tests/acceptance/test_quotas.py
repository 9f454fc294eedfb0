"""What a machine lends to another owner has an end, also after a restart; and the reason is told."""

from __future__ import annotations

from .harness import Pool, wait_until
from .owners import await_alive, let_in, machines, up

__all__ = ("machines",)

BURN = "import time\nwhile time.process_time() < 600: pass"


def test_another_owner_is_refused_once_it_has_taken_its_share_and_still_after_a_restart(machines: list[Pool]) -> None:
    lender, guest, _ = machines
    node = up(lender, "lends", "--quota=cpu=1")
    let_in(lender, guest)
    up(guest, "asks", "--slots=0")
    await_alive(guest, "lends", "asks")
    refused = "lends: its owner lends each of the others 1 s of CPU time in 24 hours"
    assert refused in guest.call("run", "-c", BURN).err
    told = lender.call("status", "--json").value["quotas"]
    assert told["cpu_s"] == 1 and 1 <= told["taken"][0]["cpu_s"] < 5
    assert lender.call("run", "-c", "1").code == 0, "its own owner is free to run what it likes"
    node.interrupt()
    node.process.wait(30)
    up(lender, "lends", "--quota=cpu=1")
    await_alive(guest, "lends", "asks")
    wait_until(lambda: refused in guest.call("run", "-c", "1").err, "it is refused as before")
