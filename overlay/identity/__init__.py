"""Who a node is and who belongs to the mesh.

`keys`          Ed25519 pairs
`certificates`  root → owner → node: issuing, and verifying a chain that a peer presents
`bans`          who is shut out for ever, and who may say so
`joining`       letting another owner in; moving a data directory into another mesh
`rotation`      a new root for the mesh, and who is kept below it
`privacy`       files and folders that only their owner may read
`mesh`          what lies in the data directory: founding a mesh, provisioning one, loading an identity
"""
