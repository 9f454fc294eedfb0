"""The shipped nodes in virtual time, on a virtual network, with faults and checkers.

`determinism`                        one trace per seed; the only file that knows trio's private switch
`network`, `clock`, `entropy`,       the ports of a node, without a socket, a thread or a file
`store`, `sandbox`
`world`                              whole nodes on them: start, crash, cut off, leave, restart; and the log of events
`jobs`                               a scenario: everyone joins, jobs run, machines die
`checks`                             what must hold after a scenario, each check with a name
`run`                                a scenario by name, with the answer that `potluck sim --json` prints
"""
