"""Who is alive and how busy.

`detector`    engine: signs of life and of death in, joined / suspected / left / died out
`neighbours`  whom a node keeps a link to
`loads`       the latest load report of every neighbour
`service`     shell: probes, PEER_EXCHANGE, dialling
"""
