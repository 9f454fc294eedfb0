"""The distributed hash table: Kademlia over links, holding signed records.

`routing`   contacts in buckets, and the exact nearest of them
`peers`     what the DHT needs of the rest of its node
`lookup`    engine of the iterative search; `searching` its shell
`aside`     who did not answer lately
`contacts`  shell: this node's table of contacts, kept full; searches and questions
`records`   what a record is signed over; the table of namespaces: who may write, which of two wins
`store`     this node's share of the records
`service`   shell: answers peers; put and get with acknowledgement by a majority
"""
