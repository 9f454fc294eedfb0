"""The real network: `tls` streams over `tcp`, `multicast` datagrams, and which `interfaces` to use."""
