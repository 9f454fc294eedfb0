"""What runs within the walls, beside other people's functions. It sees nothing of its node but two descriptors.

`supervisor`, `orders`            process 1 of a sandbox: stops, continues and reaps all of it, as it is told
`entrance`                        … and how it comes by its pipes in a container
`confinement`                     … and, where there are no namespaces, what shuts off the process itself
`seccomp`                         what the kernel refuses everything in here
`semaphores`                      what programs find in place of /dev/shm
`worker`, `programs`              what runs tasks, and the forms that these come in: only here are pickles opened
`surroundings`, `keeping`         the environment of a task; what it says to go on from
`reports`                         what its end looks like from outside
`tally`                           how much of its output the node has taken
"""
