"""Everything that crosses a process boundary, and nothing that acts on it.

`framing`, `codec`                       bytes ⇄ frames ⇄ messages, with every limit
`opening`, `gossip`, `work`, `records`,
`registers`                              between nodes: the twelve and their companions (`peer` lists them all)
`beacon`                                 on UDP multicast
`pairing`                                between a machine that joins and the one that has invited it
`control`                                between a user's program and its node
`worker`                                 between a node and a worker process
`values`                                 Python values as data, without pickle
"""
