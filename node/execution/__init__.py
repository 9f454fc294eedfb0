"""Running other people's functions on this machine: which task runs where and when, and what its master is told.

`engine`, `tasks`, `pool`, `events`   which task runs where and when; no I/O
`intake`, `dispatching`, `account`    … from arrival to queue, to worker, to confirmation
`claims`                              … what of the machine is set aside for a task before it is ready
`checkpoints`                         … and what it is to go on from, should it be lost on the way
`orphans`                             … what is kept of jobs whose master is gone, for the next one
`turns`, `suspending`, `yielding`     … and back: who is stopped, with its whole tree, for another or for the owner
`standing`                            … and those that wait for tasks which they have submitted
`metering`, `limits`                  … what a task has taken, and whether that is more than it may
`wear`                                … when a worker has served enough, and what spares have ready
`answers`, `kinds`                    … what masters are told; this node's own programs, for work by kind
`outgoing`, `streaming`, `printed`    what tasks print, divided among them and sent home; no I/O
`service`, `workers`, `lines`         the shell: pipes to the worker processes, and what tasks say through them
`listening`, `feeding`, `overseeing`  … their stdout, stderr and stdin, and a look at what they take

The walls around the processes are `node/sandboxes`, what runs within them is `node/inside`:
neither knows of turns.
"""
