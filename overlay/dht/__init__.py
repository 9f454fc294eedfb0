"""The distributed hash table: Kademlia over links, holding signed records.

`routing`   contacts in buckets, and the exact nearest of them
`peers`     what the DHT needs of the rest of its node
`lookup`    engine of the iterative search; `searching` its shell
`aside`     who did not answer lately
`contacts`  shell: this node's table of contacts, kept full; searches and questions
`records`   what a record is signed over; the table of namespaces: who may write, which of two wins
`restating` records written by a clock that was wrong
`store`     this node's share of the records
`publishers`, `limits`, `attendance`
            whose records these are, what each owner may take of this node, whether it was away for long
`share`     shell: takes records in, and answers peers
`service`   shell: who holds what, and how they are asked
`inquiry`   questions to several members at once
`reading`   get: the newest of a majority; `batches` for several records in one message
`replication`
            put and get with acknowledgement by a majority
`syncing`   engine: what is due here when membership changes, and whether all of it has come; `handover` its shell
"""
