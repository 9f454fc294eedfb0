"""The real network: `tls` streams over `tcp` and `multicast` datagrams, on the addresses that `interfaces` chooses.

`whereabouts` follows them as they come and go, and `listening` goes along.
"""
