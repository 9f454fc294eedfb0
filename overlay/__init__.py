"""One authenticated, trackerless network of nodes. Where to start reading:

`ids`, `errors`, `ports`, `config`   what everything else is said in terms of
`identity/`     keys, certificates, who belongs to the mesh
`wire/`         every message and value that crosses a process boundary
`session/`      the table of what may be said when, without I/O
`transport/`    authenticated streams over TCP; multicast
`links`         one conversation per pair of nodes, opened on demand
`membership/`   who is alive; load gossip
`dht/`          records: signed, versioned, expiring, replicated
`clock`         hybrid logical clock and mesh time
"""
