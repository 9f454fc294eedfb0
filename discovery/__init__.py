"""Finding peers. Three sources of sightings feed one channel; a sighting is a hint that only TLS can confirm.

`sightings`  what a source reports, and the channel's other end: who is dialled, and when again
`tags`       how beacons of one mesh recognise each other without telling outsiders
`beacon`     DISCOVER and HELLO on UDP multicast: an engine and its shell
`mdns`       `_potluck._tcp.local.` by zeroconf, for networks that pass only mDNS
`heard`      engine: what was heard of whom and why it came to nothing, for `doctor`

Letting a machine in:

`codes`, `words`    invite codes, drawn and typed
`pairing`, `spake`  engines: open invites, and both sides of an exchange
`seeking`           engines: how a joiner finds its inviter on the multicast group
`door`, `knocking`  their shells
`returning`         members that were away while the mesh was given a new root
"""
