"""Walls around processes that run other people's functions: the port `overlay.ports.Sandbox`, by four means.

`backends`                        which sandboxes there are, best first
`bubblewrap`, `docker`            namespaces of their own, put up by bubblewrap or by an engine of this machine
`confined`, `bare`                the kernel's own rules for files, without namespaces; no walls, for own tasks
`containers`                      the Docker engine, asked
`pipes`, `spawning`, `supervised` what they have in common: the pipes, children of the node, a first process of ours
`visible`                         what of the machine they show
`cgroups`, `trees`                the kernel's own account of what goes on within, or else the table of processes
`headstart`                       sandboxes tried out, and a first worker begun, while the node is imported
"""
