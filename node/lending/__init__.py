"""When a node runs what comes from elsewhere: its owner's rules, and what becomes of tasks when they say no.

`hours`     of the week, as the owner's wall shows them (pure)
`idleness`  engine: whether the owner is at the machine
`lending`   engine: what is done to tasks, and when
`desk`      what this machine tells of its owner
`service`   shell: asks, tells and remembers
"""
