"""What a program uses. It talks to a node of the same user through the node's control socket, and to nothing else.

`surroundings`   where this user's nodes are
`dialling`       picking a node and greeting it
`connection`     the conversation: two threads, a `window`, `questions` and their answers
`redialling`     another node in place of one that was lost
`uploads`        payloads too long for a frame; `downloads` those that come back
`futures`        one task, seen from the program
`programs`       functions and arguments, made ready to travel; `cached` those under `lru_cache`
`origins`        by which what was sent by value comes home as itself
`outcomes`       what comes back: values and exceptions
`dependencies`   futures as arguments
`executor`       the concurrent.futures face; `mapping` and `chunks` are its `map`, `progress` the bar of one
`asynchronous`   the same for programs that run on trio
`private`        a node for one program, where the user runs none
`forking`        what a forked child makes of all this
`memory`         the mesh's memory as a mapping
"""
