"""Running other people's functions on this machine, in processes that can be ended and in sandboxes that hold.

`engine`, `tasks`, `pool`, `events`   which task runs where and when; no I/O
`service`, `workers`                  its shell: pipes to the worker processes
`backends`                            which sandboxes there are: `bubblewrap`, `bare`, both on `spawning`
`worker`, `programs`, `reports`       the program inside; only these ever open a pickle
"""
