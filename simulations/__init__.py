"""The shipped nodes in virtual time, on a virtual network, with faults and checkers.

`determinism`                        one trace per seed; the only file that knows trio's private switch
`network`, `clock`, `entropy`,       the ports of a node, without a socket, a thread or a file
`store`, `sandbox`
`world`                              whole nodes on them: start, crash, cut off, leave, restart; and the log of events
`gathering`                          how every scenario begins, and how it waits
`jobs`                               a scenario: everyone joins, jobs run, machines die
`registers`                          a scenario: operations on registers, under every fault
`agreement`                          a scenario: the engines of registers alone, for very many operations
`overlays`                           the DHT alone, of very many nodes, on lines that carry messages
`join`                               a scenario: overlays find their places, and each other
`churn`                              a scenario: keys are read at once after many overlays have died
`detectors`                          the engines of membership alone: links that stall, nodes that are stopped
`suspicion`                          a scenario: slow links and a slow node, and who is called dead for it
`gossip`                             a scenario: what membership costs
`linearizability`                    whether a history of one register could have happened one by one
`weather`, `misconduct`              what is wrong with ways, and what a member does that no shipped node would
`faults`, `storms`                   a plan of everything that goes wrong, drawn before it happens; what carries it out
`mixed`                              a scenario: programs use everything, under every fault
`partition`                          a scenario: two islands, writes on both, and how long until they are one again
`programs`, `promises`               what those programs do and write down; what they were promised, one check each
`checks`                             what must hold after a scenario, each check with a name
`run`                                a scenario by name, with the answer that `potluck sim --json` prints
`picture`                            what happened in one run, as one page of HTML
`seeds`                              many seeds of one scenario, on all cores
"""
