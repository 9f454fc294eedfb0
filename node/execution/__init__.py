"""Running other people's functions on this machine, in processes that can be ended and in sandboxes that hold.

`engine`, `tasks`, `pool`, `events`   which task runs where and when; no I/O
`intake`, `dispatching`, `account`    … from arrival to queue, to worker, to confirmation
`checkpoints`                         … and what it is to go on from, should it be lost on the way
`turns`                               … and back: who is stopped, with its whole tree, for another
`standing`                            … and those that wait for tasks which they have submitted
`wear`                                … when a worker has served enough, and what spares have ready
`kinds`                               this node's own programs, for work by kind
`outgoing`, `streaming`, `printed`    what tasks print, divided among them and sent home; no I/O
`service`, `workers`, `lines`         the shell: pipes to the worker processes, and what tasks say through them
`listening`, `feeding`, `tally`       … and their stdout, stderr and stdin
`backends`                            which sandboxes there are: `bubblewrap`, `docker`, `confined`, `bare`
`pipes`, `spawning`, `supervised`     what they have in common: the pipes, children of the node, a first process of ours
`containers`, `entrance`              the Docker engine, asked; how process 1 of a container comes by its pipes
`visible`, `confinement`              what of the machine they show; how `confined` shuts itself off, from inside
`semaphores`                          … and what its programs find in place of /dev/shm
`seccomp`, `cgroups`, `trees`         what the kernel refuses them, and what it tells of their use
`limits`, `overseeing`                what a task has taken, and whether that is more than it may
`rehearsal`                           a workload run for real, without a node
`supervisor`, `orders`                process 1 of a sandbox: stops, continues and reaps all of it, as it is told
`worker`, `programs`, `keeping`, `reports`, `surroundings`   the program inside; only these ever open a pickle
"""
