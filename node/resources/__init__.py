"""What this machine has to give, and who has what of it.

`gpus`      which there are, and how programs are told of those that they may use
`slots`     engine: CPUs, for as long as something runs
`grants`    engine: memory and devices, from the first to the last moment of a task
`binding`   keeps a tree of processes to the cores that it has been given
"""
