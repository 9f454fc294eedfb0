"""One conversation per pair of nodes.

`conversation`  a stream and its session: whole, legal messages both ways
`opening`       CONNECT_REQUEST … HANDSHAKE_RESPONSE: who is this, and do they belong here?
`link`          a ready control conversation: queued writes, requests and their answers
`banning`       bans: kept, told on, carried out
`links`         all of them: dialled on demand, one per pair, ties broken by id
"""
